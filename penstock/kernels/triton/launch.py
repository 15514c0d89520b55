"""Launching the kernels: argument checks, tile sizes per head dim and dtype, partial buffers.

Legend: N rows, H heads, D head dim, T tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial
from penstock.kernels.triton.attend_kernel import attend_kernel, merge_kernel
from penstock.kernels.triton.plan import Launch, TritonPlan
from penstock.kernels.triton.write_kernel import write_kernel

INTERPRETED = not isinstance(attend_kernel, triton.JITFunction)
"""Triton runs in its interpreter (``TRITON_INTERPRET=1`` when it was imported): slow, for tests on CPUs."""


class TileSizes(NamedTuple):
    """Compile-time sizes that follow from the head dim, the dtype and the rows of a tile."""

    d_pad: int
    tile_k: int
    num_warps: int
    num_stages: int


def tile_sizes(head_dim: int, dtype: torch.dtype, block_m: int) -> TileSizes:
    """Return sizes whose buffers (K and V, ``num_stages`` deep) stay below 100 KiB of shared memory.

    Eight warps where four would have to hold more than 64 x 128 accumulators and spill.
    """
    d_pad = max(16, triton.next_power_of_2(head_dim))
    tile_k = max(16, min(64, 16384 // (d_pad * dtype.itemsize)))
    return TileSizes(d_pad, tile_k, num_warps=8 if block_m > 64 or d_pad > 128 else 4, num_stages=3)


def paged(plane: Tensor, name: str, item: int) -> Tensor:
    """Return the plane if everything below its block is contiguous.

    Raises:
        ValueError: the plane has another layout than ``[blocks, kv_heads, page, (item)]``.
    """
    page = plane.shape[2]
    if plane.shape[3:] != (item,) or plane.stride()[1:] != (page * item, item, 1):
        raise ValueError(f"{name}: expected [blocks, kv_heads, page, {item}] contiguous within a block")
    return plane


def run_launch(
    launch: Launch, q_NHD: Tensor, kv: LayerKV, layer: LayerSpec, plan: TritonPlan, out: Partial
) -> None:
    """Attend the tiles of one launch and store their rows into ``out``."""
    group = layer.heads // layer.kv_heads
    sizes = tile_sizes(layer.head_dim, q_NHD.dtype, launch.block_m)
    k, v = paged(kv.planes["k"], "k", layer.head_dim), paged(kv.planes["v"], "v", layer.head_dim)
    int8 = k.dtype == torch.int8
    ks, vs = (kv.planes["k_scale"], kv.planes["v_scale"]) if int8 else (k, v)
    tiles = launch.tiles_T5.shape[0]
    split = launch.splits > 1
    out_rows = tiles * launch.rows_per_tile if split else q_NHD.shape[0]
    part = out
    if split:
        shape = (launch.splits, out_rows, layer.heads)
        part = Partial(
            torch.empty(*shape, layer.head_dim, dtype=torch.float32, device=q_NHD.device),
            torch.empty(shape, dtype=torch.float32, device=q_NHD.device),
        )
    table_SB = plan.rows.block_table_SB
    attend_kernel[(tiles, layer.kv_heads, launch.splits)](
        *(q_NHD, k, v, ks, vs, table_SB, plan.rows.positions_N, launch.tiles_T5, *part),
        *(layer.scale, q_NHD.stride(0), k.stride(0), ks.stride(0), table_SB.stride(0), out_rows),
        GROUP=group,
        HEAD_DIM=layer.head_dim,
        D_PAD=sizes.d_pad,
        PAGE=plan.page_size,
        BLOCK_M=launch.block_m,
        TILE_K=sizes.tile_k,
        WINDOW=layer.window or 0,
        CAP=layer.softcap or 0.0,
        INT8=int8,
        ROWS=launch.rows_per_tile if split else 0,
        UPCAST=INTERPRETED,
        num_warps=sizes.num_warps,
        num_stages=sizes.num_stages,
    )
    if split:
        merge_kernel[(out_rows, layer.heads)](
            *(*part, launch.tiles_T5, *out, launch.splits, out_rows),
            HEAD_DIM=layer.head_dim,
            D_PAD=sizes.d_pad,
            ROWS=launch.rows_per_tile,
            S_PAD=triton.next_power_of_2(launch.splits),
        )


def write_kv(planes: Mapping[str, Tensor], slots_N: Tensor, k_NHD: Tensor, v_NHD: Tensor) -> None:
    """Store rows in the pages at ``slots_N`` (``block * page + offset``), as `Codec.write` of raw and int8.

    Whether to quantise is read off the planes. Rows with a negative slot are left out; two rows of one
    slot may be stored in either order. Nothing is copied to the host, so a CUDA graph can capture it.

    Raises:
        ValueError: a plane has another layout than the store's.
    """
    rows, heads, head_dim = k_NHD.shape
    k, v = paged(planes["k"], "k", head_dim), paged(planes["v"], "v", head_dim)
    int8 = k.dtype == torch.int8
    ks, vs = (planes["k_scale"], planes["v_scale"]) if int8 else (k, v)
    k_NHD, v_NHD = (x if x.stride()[1:] == (head_dim, 1) else x.contiguous() for x in (k_NHD, v_NHD))
    if rows == 0:
        return
    write_kernel[(rows, heads)](
        *(k_NHD, v_NHD, k, v, ks, vs, slots_N),
        *(k_NHD.stride(0), v_NHD.stride(0), k.stride(0), ks.stride(0)),
        HEAD_DIM=head_dim,
        D_PAD=triton.next_power_of_2(head_dim),
        PAGE=k.shape[2],
        INT8=int8,
        num_warps=1,
    )
