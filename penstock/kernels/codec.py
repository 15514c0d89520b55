"""The representation axis: how keys and values are kept in the pages.

Rule (write-through): a step writes its rows through the codec first, and attends through the codec
afterwards, also inside the chunk it has just written. What a row reads then does not depend on chunk borders,
and a prefix hit reads what a miss reads, lossy or not.

Legend: N rows, H KV heads, D head dim, X (block, head) tiles, P page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.layer_spec import LayerSpec


@dataclass(frozen=True, slots=True)
class PlaneSpec:
    """One tensor of a page store; a page's share of it is ``[kv_heads, page, *item]``."""

    item: tuple[int, ...]
    dtype: torch.dtype

    def bytes_per_token(self, kv_heads: int) -> int:
        """Return the bytes that one token of one layer takes in this plane."""
        size = kv_heads * self.dtype.itemsize
        for extent in self.item:
            size *= extent
        return size


class Codec(Protocol):
    """A way to keep KV. All methods act on the planes of one layer."""

    name: str
    lossless: bool
    """Reading gives back exactly what was written, in the model's dtype."""
    per_token: bool
    """A token's stored form depends on that token alone (not on a group or on the whole page)."""

    def planes(self, layer: LayerSpec, dtype: torch.dtype) -> dict[str, PlaneSpec]:
        """Return the planes that a layer needs; ``dtype`` is the model's."""
        ...

    def write(self, planes: Mapping[str, Tensor], slots_N: Tensor, k_NHD: Tensor, v_NHD: Tensor) -> None:
        """Store rows at ``slots_N`` (``block * page + offset``)."""
        ...

    def gather(
        self, planes: Mapping[str, Tensor], tiles_X: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return K and V of (block, KV head) tiles, each a fresh ``[X, page, head_dim]`` in ``dtype``."""
        ...

    def fingerprint(self) -> str:
        """Return a string that differs whenever the stored form differs; salts the prefix cache."""
        ...


def _put(plane: Tensor, slots_N: Tensor, rows: Tensor) -> None:
    page = plane.shape[2]
    plane[slots_N // page, :, slots_N % page] = rows


def _tiles(plane: Tensor, tiles_X: Tensor) -> Tensor:
    return plane.flatten(0, 1).index_select(0, tiles_X)


class RawCodec:
    """Keys and values as they come, in the model's dtype."""

    name = "raw"
    lossless = True
    per_token = True

    def planes(self, layer: LayerSpec, dtype: torch.dtype) -> dict[str, PlaneSpec]:
        """See `Codec.planes`: ``k`` and ``v``."""
        item = (layer.head_dim,)
        return {"k": PlaneSpec(item, dtype), "v": PlaneSpec(item, dtype)}

    def write(self, planes: Mapping[str, Tensor], slots_N: Tensor, k_NHD: Tensor, v_NHD: Tensor) -> None:
        """See `Codec.write`."""
        _put(planes["k"], slots_N, k_NHD)
        _put(planes["v"], slots_N, v_NHD)

    def gather(
        self, planes: Mapping[str, Tensor], tiles_X: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """See `Codec.gather`."""
        return _tiles(planes["k"], tiles_X).to(dtype), _tiles(planes["v"], tiles_X).to(dtype)

    def fingerprint(self) -> str:
        """See `Codec.fingerprint`; the dtype is the model's and is salted there."""
        return "raw"


class Int8Codec:
    """Symmetric int8 with one float32 scale per token and KV head, for keys and values each.

    The scale is the row's largest magnitude / 127, so an element is off by at most half a scale.
    """

    name = "int8"
    lossless = False
    per_token = True

    def planes(self, layer: LayerSpec, dtype: torch.dtype) -> dict[str, PlaneSpec]:
        """See `Codec.planes`: ``k``, ``v`` (int8) and their scales."""
        data, scale = PlaneSpec((layer.head_dim,), torch.int8), PlaneSpec((), torch.float32)
        return {"k": data, "v": data, "k_scale": scale, "v_scale": scale}

    def write(self, planes: Mapping[str, Tensor], slots_N: Tensor, k_NHD: Tensor, v_NHD: Tensor) -> None:
        """See `Codec.write`."""
        for name, rows_NHD in (("k", k_NHD), ("v", v_NHD)):
            rows32_NHD = rows_NHD.float()
            scale_NH = rows32_NHD.abs().amax(dim=-1) / 127.0
            # A row of zeros has scale 0: divide by 1 instead and store zeros.
            step_NH1 = torch.where(scale_NH > 0, scale_NH, 1.0)[..., None]
            _put(planes[name], slots_N, torch.round(rows32_NHD / step_NH1).to(torch.int8))
            _put(planes[f"{name}_scale"], slots_N, scale_NH)

    def gather(
        self, planes: Mapping[str, Tensor], tiles_X: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """See `Codec.gather`."""
        out = []
        for name in ("k", "v"):
            scale_XP1 = _tiles(planes[f"{name}_scale"], tiles_X)[..., None]
            out.append((_tiles(planes[name], tiles_X).float() * scale_XP1).to(dtype))
        return out[0], out[1]

    def fingerprint(self) -> str:
        """See `Codec.fingerprint`."""
        return "int8/token-head/f32"


CODECS: dict[str, type[Codec]] = {"raw": RawCodec, "int8": Int8Codec}


def make_codec(kv_cache_dtype: str) -> Codec:
    """Return the codec of a ``cache.kv_cache_dtype`` value (``auto`` is raw).

    Raises:
        ConfigError: unknown name.
    """
    name = "raw" if kv_cache_dtype == "auto" else kv_cache_dtype
    if name not in CODECS:
        known = ", ".join(["auto", *CODECS])
        raise ConfigError("cache.kv_cache_dtype", f"expected one of {known}, got {kv_cache_dtype!r}")
    return CODECS[name]()
