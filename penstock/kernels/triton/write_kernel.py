"""Storing the keys and values of a step's rows in their pages, as they are or as int8 with a scale per head.

Legend: D head dim, padded to a power of two.
"""

# ruff: noqa: ANN001, ANN201, ANN202
# Arguments of kernels are Triton values (see attend_kernel.py).
import triton
import triton.language as tl

# 1.5 * 2**23: adding and subtracting it rounds a float32 below 2**22 to the nearest integer, ties to even.
ROUNDER = tl.constexpr(12582912.0)


@triton.jit
def _quantise(x_D):
    """Return (int8 values, scale) with ``scale = max |x| / 127``; a row of zeros keeps scale 0.

    Divides and rounds as IEEE 754 and torch do, so that the stored bytes equal those of the torch codec.
    """
    x_D = x_D.to(tl.float32)
    top = tl.max(tl.abs(x_D), axis=0)
    scale = tl.div_rn(top, 127.0)
    scaled_D = tl.div_rn(x_D, tl.where(scale > 0, scale, 1.0))
    return ((scaled_D + ROUNDER) - ROUNDER).to(tl.int8), scale


# fmt: off
@triton.jit(do_not_specialize=["slot_ptr"])
def write_kernel(k_ptr, v_ptr, k_page_ptr, v_page_ptr, ks_page_ptr, vs_page_ptr, slot_ptr,
                 k_row, v_row, kv_block, scale_block,
                 HEAD_DIM: tl.constexpr, D_PAD: tl.constexpr, PAGE: tl.constexpr, INT8: tl.constexpr):
    # fmt: on
    """Store one (row, KV head). Grid: (rows, kv_heads). A row whose slot is negative is not stored.

    ``slot = block * PAGE + offset``; pages are ``[blocks, kv_heads, PAGE, HEAD_DIM]``, scales without the
    last dimension. Strides are in elements.
    """
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    slot = tl.load(slot_ptr + row).to(tl.int64)
    live = slot >= 0
    slot = tl.maximum(slot, 0)
    block = slot // PAGE
    offset = slot % PAGE
    d_D = tl.arange(0, D_PAD)
    in_D = d_D < tl.where(live, HEAD_DIM, 0)
    k_D = tl.load(k_ptr + row * k_row + head * HEAD_DIM + d_D, mask=in_D, other=0.0)
    v_D = tl.load(v_ptr + row * v_row + head * HEAD_DIM + d_D, mask=in_D, other=0.0)
    if INT8:
        k_D, k_scale = _quantise(k_D)
        v_D, v_scale = _quantise(v_D)
        scale_at = block * scale_block + head * PAGE + offset
        tl.store(ks_page_ptr + scale_at, k_scale, mask=live)
        tl.store(vs_page_ptr + scale_at, v_scale, mask=live)
    at_D = block * kv_block + (head * PAGE + offset) * HEAD_DIM + d_D
    tl.store(k_page_ptr + at_D, k_D.to(k_page_ptr.dtype.element_ty), mask=in_D)
    tl.store(v_page_ptr + at_D, v_D.to(v_page_ptr.dtype.element_ty), mask=in_D)
