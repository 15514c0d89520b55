"""What an attention backend is: a plan once per step, then one call per layer that returns a fragment.

Legend: N rows (queries) of the step, H query heads, D head dim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial
from penstock.kernels.rows import StepRows


@dataclass(frozen=True, slots=True)
class AttnNeed:
    """What the start-up compiler asks of a backend. A backend answers with a reason to refuse, or None."""

    device: str
    """Device type: ``cpu`` or ``cuda``."""
    dtype: torch.dtype
    """Type of queries and of raw KV."""
    codec: str
    """Name of the KV codec (``raw``, ``int8``)."""
    layers: tuple[LayerSpec, ...]
    batch_invariant: bool = False
    page_size: int | None = None
    """Tokens per page; None while it is not known yet (the check is repeated when the store is made)."""
    kernels: str = "torch"
    """What computes the dense operations beside it: ``torch`` or ``native``."""


class KVCodec(Protocol):
    """The part of a codec that attention uses; see `penstock.kernels.codec.Codec`."""

    name: str

    def write(self, planes: Mapping[str, Tensor], slots_N: Tensor, k_NHD: Tensor, v_NHD: Tensor) -> None:
        """Store rows at ``slots_N`` (``block * page + offset``)."""
        ...

    def gather(
        self, planes: Mapping[str, Tensor], tiles_X: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """Return K and V of (block, kv head) tiles, each ``[X, page, head_dim]`` in ``dtype``; always a copy.

        Tile ``block * kv_heads + head`` is contiguous in the layout, so a page table per KV head is just
        another index tensor.
        """
        ...


@dataclass(frozen=True, slots=True)
class LayerKV:
    """The KV of one owner layer: planes of the layout ``[blocks, kv_heads, page, ...]`` and their codec.

    The raw codec has planes ``k`` and ``v``, ``[blocks, kv_heads, page, head_dim]``, in the model's dtype.
    The int8 codec has ``k``, ``v`` (int8) and ``k_scale``, ``v_scale`` (float32, ``[blocks, kv_heads,
    page]``). A fused backend reads planes itself; others call ``codec.gather``.
    """

    planes: Mapping[str, Tensor]
    codec: KVCodec


@dataclass(slots=True)
class AttnPlan:
    """What a backend derives from the rows once per step; backends subclass it to add index tensors."""

    rows: StepRows
    page_size: int


@runtime_checkable
class AttentionBackend(Protocol):
    """Causal attention over paged KV, with explicit positions.

    Row n of sequence s, at position p = ``rows.positions_N[n]``, attends to those keys of s that are stored
    at positions j with ``j <= p``, ``j < rows.kv_lens[s]`` and ``j > p - window``. Position j lies in block
    ``rows.block_table_SB[s, j // page_size]`` at offset ``j % page_size``. The rows of a sequence are
    contiguous in N (``rows.q_lens``), but nothing may be assumed of where their positions end.
    What lies in the pages beyond ``kv_lens[s]`` or belongs to other sequences (stale values, even nan) must
    not reach the result. Keys and values of this step's rows have been written before `attend` is called.
    """

    name: str

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """Return why this backend cannot serve the need (names field and expectation), or None if it can."""
        ...

    def plan(self, rows: StepRows, page_size: int) -> AttnPlan:
        """Prepare one step; called once, used by all layers (window and softcap come with each layer)."""
        ...

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """Attend N rows of one layer.

        Args:
            q_NHD: queries in the model's dtype, rotated already.
            kv: store of the layer's KV owner.
            layer: window, softcap, scale and head counts.
            plan: this backend's own plan of the step. Rows from ``plan.rows.padded_from`` on are padding:
                their output is arbitrary but finite.

        Returns:
            Fragment with float32 ``lse`` and ``out`` in float32 or q's dtype.
        """
        ...


@runtime_checkable
class WritingBackend(Protocol):
    """A backend that can also store rows, to the bit as the codec would, in fewer launches."""

    def write(self, kv: LayerKV, slots_N: Tensor, k_NGD: Tensor, v_NGD: Tensor) -> None:
        """See `Codec.write`."""
        ...
