"""The paged attention kernel: online softmax over the pages of one sequence, or over a share of its keys.

One kernel serves prefill, mixed and decode steps; what differs is data. A *tile* is up to
``BLOCK_M // GROUP`` consecutive rows of one sequence, and a program attends one (tile, KV head, split of the
keys). The query heads that share a KV head are folded into the rows of the tile, so that a key is read once
for all of them. The recurrence is the online softmax (Milakov and Gimelshein, 2018) as tiled by
FlashAttention-2 (Dao, 2023); splits and their merge are flash-decoding (Dao, Haziza, Massa and Sizov, 2023).

Legend: M folded query rows of a tile (row, then head within its group), K keys of a tile, D head dim padded
to a power of two, S splits. Everything is masked down to the true sizes at loads and stores.
"""

# ruff: noqa: ANN001, ANN201, ANN202
# Arguments of kernels are Triton values; only `tl.constexpr` is an annotation that Triton reads, and it must
# read it as an object: hence no `from __future__ import annotations` here.
import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def _dot(a, b, UPCAST: tl.constexpr):
    """Return the float32 product; float32 inputs are not rounded to tf32.

    UPCAST is for Triton's interpreter, whose dot takes the bits of a bf16 for an integer.
    """
    if UPCAST:
        return tl.dot(a.to(tl.float32), b.to(tl.float32), input_precision="ieee")
    else:
        return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _softcap(score_MK, CAP: tl.constexpr):
    """Return ``CAP * tanh(score / CAP)``; the exponent is never positive, so it cannot overflow."""
    scaled_MK = score_MK / CAP
    decay_MK = tl.exp(-2.0 * tl.abs(scaled_MK))
    tanh_MK = (1.0 - decay_MK) / (1.0 + decay_MK)
    return CAP * tl.where(scaled_MK < 0, -tanh_MK, tanh_MK)


@triton.jit
def _key_range(position_M, live_M, kv_len, share, TILE_K: tl.constexpr, WINDOW: tl.constexpr):
    """Return the keys [low, high) that some row of the tile sees, and this split's key tiles [begin, end).

    Tiles are aligned to absolute positions, so that a key falls at the same place of the same tile whatever
    else is in the step.
    """
    high = tl.minimum(tl.max(tl.where(live_M, position_M, -1), axis=0) + 1, kv_len)
    low = high * 0
    if WINDOW > 0:
        first = tl.min(tl.where(live_M, position_M, 2147483647), axis=0)
        low = tl.minimum(tl.maximum(first - WINDOW + 1, 0), high)
    tile_low = low // TILE_K
    tile_high = tl.cdiv(high, TILE_K)
    begin = tile_low + tl.program_id(2) * (share // TILE_K)
    # The last split takes all that is left, so that no share can be too small.
    final = tl.program_id(2) == tl.num_programs(2) - 1
    end = tl.where(final, tile_high, tl.minimum(begin + share // TILE_K, tile_high))
    return low, high, begin, end


# fmt: off
@triton.jit
def _load_keys(k_ptr, v_ptr, ks_ptr, vs_ptr, table_ptr, key_K, live_K, kv_block, scale_block, kv_head, dtype,
               HEAD_DIM: tl.constexpr, D_PAD: tl.constexpr, PAGE: tl.constexpr, INT8: tl.constexpr):
    # fmt: on
    """Return K (transposed), V and their scales; keys that are not live are never read and come back as 0.

    That zero matters: stale memory may hold nan, and 0 * nan would poison a row that gives the key no weight.
    """
    d_D = tl.arange(0, D_PAD)
    # A store can hold more than 2**31 elements, so offsets of blocks are 64-bit.
    block_K = tl.load(table_ptr + key_K // PAGE, mask=live_K, other=0).to(tl.int64)
    at_K = block_K * kv_block + kv_head * (PAGE * HEAD_DIM) + (key_K % PAGE) * HEAD_DIM
    in_D = d_D < HEAD_DIM
    k_DK = tl.load(k_ptr + at_K[None, :] + d_D[:, None], mask=in_D[:, None] & live_K[None, :], other=0)
    v_KD = tl.load(v_ptr + at_K[:, None] + d_D[None, :], mask=live_K[:, None] & in_D[None, :], other=0)
    ks_K = tl.full(key_K.shape, 1.0, tl.float32)
    vs_K = ks_K
    if INT8:
        scale_at_K = block_K * scale_block + kv_head * PAGE + key_K % PAGE
        ks_K = tl.load(ks_ptr + scale_at_K, mask=live_K, other=0.0)
        vs_K = tl.load(vs_ptr + scale_at_K, mask=live_K, other=0.0)
        # Integers up to 127 are exact in bf16; their scales go to the scores and weights, which are float32.
        return k_DK.to(tl.float32).to(dtype), v_KD.to(tl.float32).to(dtype), ks_K, vs_K
    else:
        return k_DK, v_KD, ks_K, vs_K


# fmt: off
@triton.jit
def _absorb(q_MD, k_DK, v_KD, ks_K, vs_K, key_K, live_K, position_M, scale, top_M, sum_M, acc_MD,
            WINDOW: tl.constexpr, CAP: tl.constexpr, INT8: tl.constexpr, UPCAST: tl.constexpr):
    # fmt: on
    """Fold one tile of keys into the running maximum, sum and weighted values (base-2 online softmax)."""
    score_MK = _dot(q_MD, k_DK, UPCAST) * scale
    if INT8:
        score_MK = score_MK * ks_K[None, :]
    if CAP > 0:
        score_MK = _softcap(score_MK, CAP)
    seen_MK = live_K[None, :] & (key_K[None, :] <= position_M[:, None])
    if WINDOW > 0:
        seen_MK = seen_MK & (key_K[None, :] > position_M[:, None] - WINDOW)
    score_MK = tl.where(seen_MK, score_MK * LOG2E, float("-inf"))
    new_top_M = tl.maximum(top_M, tl.max(score_MK, axis=1))
    # A row that has seen no key yet has top = -inf; shifting by 0 keeps -inf - -inf out of the exponents.
    shift_M = tl.where(new_top_M == float("-inf"), 0.0, new_top_M)
    weight_MK = tl.exp2(score_MK - shift_M[:, None])
    decay_M = tl.exp2(top_M - shift_M)
    sum_M = sum_M * decay_M + tl.sum(weight_MK, axis=1)
    if INT8:
        weight_MK = weight_MK * vs_K[None, :]
    acc_MD = acc_MD * decay_M[:, None] + _dot(weight_MK.to(v_KD.dtype), v_KD, UPCAST)
    return new_top_M, sum_M, acc_MD


# fmt: off
@triton.jit(do_not_specialize=["table_ptr", "position_ptr", "tile_ptr", "table_row", "out_rows"])
def attend_kernel(q_ptr, k_ptr, v_ptr, ks_ptr, vs_ptr, table_ptr, position_ptr, tile_ptr, out_ptr, lse_ptr,
                  scale, q_row, kv_block, scale_block, table_row, out_rows,
                  GROUP: tl.constexpr, HEAD_DIM: tl.constexpr, D_PAD: tl.constexpr, PAGE: tl.constexpr,
                  BLOCK_M: tl.constexpr, TILE_K: tl.constexpr, WINDOW: tl.constexpr, CAP: tl.constexpr,
                  INT8: tl.constexpr, ROWS: tl.constexpr, UPCAST: tl.constexpr):
    # fmt: on
    """Attend one (tile, KV head, split). Grid: (tiles, kv_heads, splits).

    ``tile_ptr`` holds five int32 per tile: sequence (row of the block table), first row, rows, context
    length, keys of a split. ``out`` and ``lse`` are ``[splits, out_rows, heads(, head_dim)]``, contiguous;
    the out row is the row, or with ROWS > 0 ``tile * ROWS + row in tile``. WINDOW = 0, CAP = 0: none. A key
    sits at ``block * kv_block + (kv_head * PAGE + offset) * HEAD_DIM``, its scales alike. Strides: elements.
    """
    tile = tl.program_id(0)
    kv_head = tl.program_id(1).to(tl.int64)
    sequence = tl.load(tile_ptr + tile * 5).to(tl.int64)
    first_row = tl.load(tile_ptr + tile * 5 + 1)
    rows = tl.load(tile_ptr + tile * 5 + 2)
    kv_len = tl.load(tile_ptr + tile * 5 + 3)
    share = tl.load(tile_ptr + tile * 5 + 4)
    m_M = tl.arange(0, BLOCK_M)
    d_D = tl.arange(0, D_PAD)
    k_K = tl.arange(0, TILE_K)
    live_M = m_M < rows * GROUP
    row_M = (first_row + m_M // GROUP).to(tl.int64)
    head_M = kv_head * GROUP + m_M % GROUP
    live_MD = live_M[:, None] & (d_D[None, :] < HEAD_DIM)
    position_M = tl.load(position_ptr + row_M, mask=live_M, other=0).to(tl.int32)
    q_MD = tl.load(q_ptr + (row_M * q_row + head_M * HEAD_DIM)[:, None] + d_D[None, :], mask=live_MD, other=0)

    low, high, begin, end = _key_range(position_M, live_M, kv_len, share, TILE_K, WINDOW)
    top_M = tl.full([BLOCK_M], float("-inf"), tl.float32)
    sum_M = tl.zeros([BLOCK_M], tl.float32)
    acc_MD = tl.zeros([BLOCK_M, D_PAD], tl.float32)
    for index in range(begin, end):
        key_K = index * TILE_K + k_K
        live_K = (key_K >= low) & (key_K < high)
        # fmt: off
        k_DK, v_KD, ks_K, vs_K = _load_keys(
            k_ptr, v_ptr, ks_ptr, vs_ptr, table_ptr + sequence * table_row, key_K, live_K,
            kv_block, scale_block, kv_head, q_MD.dtype, HEAD_DIM, D_PAD, PAGE, INT8)
        top_M, sum_M, acc_MD = _absorb(
            q_MD, k_DK, v_KD, ks_K, vs_K, key_K, live_K, position_M, scale, top_M, sum_M, acc_MD,
            WINDOW, CAP, INT8, UPCAST)
        # fmt: on

    some_M = sum_M > 0
    safe_M = tl.where(some_M, sum_M, 1.0)
    lse_M = tl.where(some_M, (top_M + tl.log2(safe_M)) * LN2, float("-inf"))
    if ROWS > 0:
        row_M = (tile * ROWS + m_M // GROUP).to(tl.int64)
    at_M = (tl.program_id(2).to(tl.int64) * out_rows + row_M) * (tl.num_programs(1) * GROUP) + head_M
    tl.store(lse_ptr + at_M, lse_M, mask=live_M)
    out_MD = (acc_MD / safe_M[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + (at_M * HEAD_DIM)[:, None] + d_D[None, :], out_MD, mask=live_MD)


# fmt: off
@triton.jit(do_not_specialize=["tile_ptr", "splits", "part_rows"])
def merge_kernel(part_ptr, part_lse_ptr, tile_ptr, out_ptr, lse_ptr, splits, part_rows,
                 HEAD_DIM: tl.constexpr, D_PAD: tl.constexpr, ROWS: tl.constexpr, S_PAD: tl.constexpr):
    # fmt: on
    """Merge the splits of one (row, head). Grid: (tiles * ROWS, heads), ROWS = rows per tile of the parts.

    Exact (see `penstock.kernels.partial.merge`); the order of the sum depends on S_PAD only.
    """
    part_row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    heads = tl.num_programs(1)
    tile = part_row // ROWS
    in_tile = part_row % ROWS
    live = in_tile < tl.load(tile_ptr + tile * 5 + 2)
    row = tl.load(tile_ptr + tile * 5 + 1) + in_tile
    s_S = tl.arange(0, S_PAD)
    d_D = tl.arange(0, D_PAD)
    in_D = d_D < tl.where(live, HEAD_DIM, 0)
    part_at_S = (s_S.to(tl.int64) * part_rows + part_row) * heads + head
    part_lse_S = tl.load(part_lse_ptr + part_at_S, mask=s_S < tl.where(live, splits, 0), other=float("-inf"))
    top = tl.max(part_lse_S, axis=0)
    shift = tl.where(top == float("-inf"), 0.0, top)
    weight_S = tl.exp(part_lse_S - shift)
    total = tl.sum(weight_S, axis=0)
    safe = tl.where(total > 0, total, 1.0)
    part_SD = tl.load(
        part_ptr + (part_at_S * HEAD_DIM)[:, None] + d_D[None, :],
        mask=(weight_S > 0)[:, None] & in_D[None, :],
        other=0.0,
    )
    out_D = tl.sum(part_SD * (weight_S / safe)[:, None], axis=0).to(out_ptr.dtype.element_ty)
    at = row * heads + head
    tl.store(lse_ptr + at, tl.where(total > 0, shift + tl.log(safe), float("-inf")), mask=live)
    tl.store(out_ptr + at * HEAD_DIM + d_D, out_D, mask=in_D)
