"""The paged KV store: planes per owner layer in the layout ``[blocks, kv_heads, page, head_dim]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.codec import Codec
from penstock.kernels.layer_spec import LayerSpec


class KVStore:
    """KV memory of one model on one device.

    Holds ``blocks`` usable pages plus one scratch page at index ``blocks``, to which padding rows may write.
    Memory starts as zeros, so a page that was never written is finite.

    Args:
        layers: every layer; those that borrow another's KV get no planes of their own.
        codec: representation; decides the planes.
        blocks: usable pages.
        page_size: tokens per page.
        dtype: the model's dtype.
        device: where the planes live.
    """

    def __init__(
        self,
        layers: Sequence[LayerSpec],
        codec: Codec,
        blocks: int,
        page_size: int,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> None:
        self.blocks = blocks
        self.page_size = page_size
        self.codec = codec
        self._layers: dict[int, LayerKV] = {}
        for layer in layers:
            if layer.owner != layer.index:
                continue
            shape = (blocks + 1, layer.kv_heads, page_size)
            planes: Mapping[str, Tensor] = {
                name: torch.zeros(*shape, *plane.item, dtype=plane.dtype, device=device)
                for name, plane in codec.planes(layer, dtype).items()
            }
            self._layers[layer.index] = LayerKV(planes, codec)

    @property
    def scratch_block(self) -> int:
        """Index of the page that nothing reads; padding rows are written there."""
        return self.blocks

    @property
    def scratch_slot(self) -> int:
        """A ``kv_slots_N`` value for padding rows."""
        return self.blocks * self.page_size

    def layer(self, index: int) -> LayerKV:
        """Return the KV of an owner layer.

        Raises:
            KeyError: the layer borrows its KV.
        """
        return self._layers[index]

    def nbytes(self) -> int:
        """Return the bytes allocated, scratch page included."""
        return sum(p.numel() * p.element_size() for kv in self._layers.values() for p in kv.planes.values())
