"""The Triton attention backend (CUDA; on the CPU only in Triton's interpreter, for tests).

Legend: N rows, H query heads, G KV heads, D head dim.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
from torch import Tensor

from penstock.kernels.attention.base import AttnNeed, AttnPlan, LayerKV
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial, empty_partial
from penstock.kernels.rows import StepRows
from penstock.kernels.triton.launch import INTERPRETED, run_launch, write_kv
from penstock.kernels.triton.plan import (
    LONG_M,
    SHORT_M,
    Geometry,
    Launch,
    Splitter,
    StaticRows,
    TritonPlan,
    launch_of,
    static_launch,
    stored_sequences,
)

MAX_HEAD_DIM = 256


@cache
def _processors(device: torch.device) -> int:
    """Return the multiprocessors of a CUDA device, 0 for the interpreter."""
    if device.type != "cuda":
        return 0
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


class TritonAttention:
    """Paged attention by one Triton kernel over tiles of rows; raw and int8 KV are read in place.

    Args:
        splits: cut the keys of every tile into this many splits; None chooses by the load of the device.
        long_m: folded rows of a tile of a sequence that is no decode, a power of two from 16 on.
    """

    name = "triton"
    graph_safe = True
    """`plan` and `attend` can be captured in a CUDA graph when the rows are `StaticRows`."""
    invariant = False
    """Whether a row's result is the same bits whatever else is in the step."""

    def __init__(self, splits: int | None = None, long_m: int = LONG_M) -> None:
        self._splits = splits
        self._long_m = long_m

    @classmethod
    def refusal(cls, need: AttnNeed) -> str | None:
        """See `AttentionBackend.refusal`."""
        if need.device != "cuda" and not INTERPRETED:
            return f"device: expected cuda (or TRITON_INTERPRET=1 for tests), got {need.device}"
        if need.device == "cuda" and torch.cuda.get_device_capability() < (8, 0):
            return "device: expected CUDA compute capability 8.0 or newer"
        if need.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            return f"dtype: expected float32, bfloat16 or float16, got {need.dtype}"
        if need.codec not in ("raw", "int8"):
            return f"codec: expected raw or int8, got {need.codec}"
        if need.batch_invariant and not cls.invariant:
            return "batch_invariant: splits and tile sizes follow the load; use triton_invariant"
        for layer in need.layers:
            if layer.head_dim > MAX_HEAD_DIM:
                return (
                    f"head_dim: expected at most {MAX_HEAD_DIM}, got {layer.head_dim} in layer {layer.index}"
                )
        return None

    def plan(self, rows: StepRows, page_size: int) -> TritonPlan:
        """See `AttentionBackend.plan`; the tiles follow when the first layer tells its head counts."""
        covered = rows.padded_from is None and sum(rows.q_lens) == rows.tokens_N.shape[0]
        return TritonPlan(rows=rows, page_size=page_size, launches={}, covered=covered)

    def write(self, kv: LayerKV, slots_N: Tensor, k_NGD: Tensor, v_NGD: Tensor) -> None:
        """See `WritingBackend.write`: one launch instead of a dozen."""
        write_kv(kv.planes, slots_N, k_NGD, v_NGD)

    def attend(self, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: AttnPlan) -> Partial:
        """See `AttentionBackend.attend`."""
        assert isinstance(plan, TritonPlan)
        geometry = Geometry.of(layer)
        launches = plan.launches.get(geometry)
        if launches is None:
            launches = plan.launches[geometry] = self._launches(plan, geometry, q_NHD.device)
        if q_NHD.stride(2) != 1 or q_NHD.stride(1) != layer.head_dim:
            q_NHD = q_NHD.contiguous()
        if plan.covered:
            out = Partial(
                torch.empty(q_NHD.shape, dtype=q_NHD.dtype, device=q_NHD.device),
                torch.empty(q_NHD.shape[:2], dtype=torch.float32, device=q_NHD.device),
            )
        else:
            rows, heads, head_dim = q_NHD.shape
            blank = empty_partial(rows, heads, head_dim, q_NHD.device)
            out = Partial(blank.out_NHD.to(q_NHD.dtype), blank.lse_NH)
        for launch in launches:
            run_launch(launch, q_NHD, kv, layer, plan, out)
        return out

    def _launches(self, plan: TritonPlan, geometry: Geometry, device: torch.device) -> tuple[Launch, ...]:
        splitter = Splitter(_processors(device), self._splits)
        short_m = max(SHORT_M, triton.next_power_of_2(geometry.group))
        if isinstance(plan.rows, StaticRows):
            return (static_launch(plan.rows, short_m, geometry, splitter),)
        sequences = stored_sequences(plan.rows)
        short = [s for s in sequences if s[2] * geometry.group <= short_m]
        long = [s for s in sequences if s[2] * geometry.group > short_m]
        return tuple(
            launch_of(part, block_m, geometry, splitter, device)
            for part, block_m in ((short, short_m), (long, max(self._long_m, short_m)))
            if part
        )


class TritonInvariantAttention(TritonAttention):
    """The same kernel with one tile size and no splits: a row's result never depends on its batch-mates.

    A row is reduced over its keys in one fixed order, whether it comes alone, in a chunk or in a decode step.
    """

    name = "triton_invariant"
    invariant = True

    def __init__(self) -> None:
        super().__init__(splits=1)

    def _launches(self, plan: TritonPlan, geometry: Geometry, device: torch.device) -> tuple[Launch, ...]:
        splitter = Splitter(0, fixed=1)
        block_m = max(self._long_m, triton.next_power_of_2(geometry.group))
        if isinstance(plan.rows, StaticRows):
            return (static_launch(plan.rows, block_m, geometry, splitter),)
        sequences = stored_sequences(plan.rows)
        return (launch_of(sequences, block_m, geometry, splitter, device),) if sequences else ()
