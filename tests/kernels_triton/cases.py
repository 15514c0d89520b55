"""Random attention problems over paged KV, and their solution row by row in float64.

Legend: N rows, H query heads, G KV heads, D head dim, T keys.
"""

from dataclasses import dataclass, field

import torch

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.codec import Int8Codec, RawCodec
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.rows import StepRows


@dataclass
class Case:
    rows: StepRows
    kv: LayerKV
    layer: LayerSpec
    page: int
    q_NHD: torch.Tensor
    keys: list = field(default_factory=list)
    """Per sequence (K, V) as [T, G, D], as the codec gives them back."""


def make_case(
    q_lens,
    kv_lens,
    *,
    heads=4,
    kv_heads=2,
    head_dim=32,
    page=16,
    dtype=torch.float32,
    codec="raw",
    window=None,
    softcap=None,
    seed=0,
    device="cpu",
    shift=0,
    magnitude=1.0,
):
    """Build a problem; whatever no sequence owns is nan, and so is the rest of every last page.

    ``shift`` moves the rows' positions that far before the end of their context.
    """
    gen = torch.Generator().manual_seed(seed)
    pages = [-(-n // page) for n in kv_lens]
    total = sum(pages) + 3
    order = torch.randperm(total, generator=gen)
    layer = LayerSpec(0, heads, kv_heads, head_dim, head_dim**-0.5, Mask(window), softcap)
    made = RawCodec() if codec == "raw" else Int8Codec()
    planes = {}
    for name, spec in made.planes(layer, dtype).items():
        planes[name] = torch.full((total, kv_heads, page, *spec.item), 77, dtype=spec.dtype)
        if spec.dtype.is_floating_point:
            planes[name].fill_(float("nan"))
    table = torch.zeros(len(q_lens), max(pages) + 2, dtype=torch.int32)
    keys, positions, slots, at = [], [], [], 0
    for s, (q_len, kv_len) in enumerate(zip(q_lens, kv_lens, strict=True)):
        table[s, : pages[s]] = order[at : at + pages[s]].int()
        at += pages[s]
        where = torch.arange(kv_len)
        slot_T = table[s, where // page].long() * page + where % page
        k, v = (magnitude * torch.randn(kv_len, kv_heads, head_dim, generator=gen) for _ in range(2))
        made.write(planes, slot_T, k.to(dtype), v.to(dtype))
        keys.append(tuple(_read(planes, name, slot_T, page) for name in ("k", "v")))
        first = max(kv_len - q_len - shift, 0)
        positions.append(torch.arange(first, first + q_len))
        slots.append(slot_T[positions[-1].clamp(max=kv_len - 1)])
    n = sum(q_lens)
    q_NHD = (magnitude * torch.randn(n, heads, head_dim, generator=gen)).to(dtype)
    rows = StepRows(
        tokens_N=torch.zeros(n, dtype=torch.long, device=device),
        positions_N=torch.cat(positions).to(device),
        kv_slots_N=torch.cat(slots).to(device),
        block_table_SB=table.to(device),
        q_lens=list(q_lens),
        kv_lens=list(kv_lens),
        sample_rows_R=torch.zeros(0, dtype=torch.long, device=device),
    )
    kv = LayerKV({name: plane.to(device) for name, plane in planes.items()}, made)
    return Case(rows, kv, layer, page, q_NHD.to(device), keys)


def _read(planes, name, slot_T, page):
    x = planes[name][slot_T // page, :, slot_T % page].double()
    if f"{name}_scale" in planes:
        x = x * planes[f"{name}_scale"][slot_T // page, :, slot_T % page].double()[..., None]
    return x


def solve(case):
    """Return (out, lse) in float64, each row on its own."""
    layer = case.layer
    n = case.q_NHD.shape[0]
    q = case.q_NHD.double().cpu()
    out = torch.zeros(n, layer.heads, layer.head_dim, dtype=torch.float64)
    lse = torch.full((n, layer.heads), float("-inf"), dtype=torch.float64)
    owner = [s for s, count in enumerate(case.rows.q_lens) for _ in range(count)]
    positions = case.rows.positions_N.tolist()
    group = layer.heads // layer.kv_heads
    for row, s in enumerate(owner):
        k, v = case.keys[s]
        low = 0 if layer.window is None else max(0, positions[row] - layer.window + 1)
        high = min(positions[row] + 1, case.rows.kv_lens[s])
        if low >= high:
            continue
        for h in range(layer.heads):
            score = (k[low:high, h // group] @ q[row, h]) * layer.scale
            if layer.softcap is not None:
                score = layer.softcap * torch.tanh(score / layer.softcap)
            lse[row, h] = torch.logsumexp(score, 0)
            out[row, h] = torch.softmax(score, 0) @ v[low:high, h // group]
    return out, lse


TOLERANCE = {torch.float32: (2e-5, 2e-5), torch.bfloat16: (3e-2, 2e-2), torch.float16: (4e-3, 4e-3)}
"""Largest error of (out, lse); bf16 rounds weights and outputs to 8 bits, while lse stays in float32."""


def check(part, case, covered=None):
    """Hold the first ``covered`` rows (all by default) to the float64 solution."""
    out, lse = solve(case)
    got_out, got_lse = part.out_NHD.double().cpu(), part.lse_NH.double().cpu()
    assert part.lse_NH.dtype == torch.float32
    assert torch.isfinite(got_out).all()
    n = out.shape[0] if covered is None else covered
    tol_out, tol_lse = TOLERANCE[case.q_NHD.dtype]
    scale = max(1.0, float(out[:n].abs().max()) if n else 1.0)
    assert (got_out[:n] - out[:n]).abs().max() <= tol_out * scale
    empty = lse[:n] == float("-inf")
    assert torch.equal(got_lse[:n] == float("-inf"), empty)
    if not empty.all():
        error = (got_lse[:n] - lse[:n])[~empty].abs().max()
        assert error <= tol_lse * max(1.0, float(lse[:n][~empty].abs().max()))
