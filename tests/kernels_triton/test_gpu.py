"""What only a GPU can show: real sizes, real graphs, whole models. (The other files run compiled there.)"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("triton")

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.attention.torch_backend import TorchAttention
from penstock.kernels.codec import RawCodec
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.rows import StepRows
from penstock.kernels.triton.attention import TritonAttention
from penstock.models.load import load_model
from penstock.runtime.graphs import GraphRunner, graph_refusal
from tests.models.families import FAMILIES, LONG_ONLY, VOCAB, make_model
from tests.models.paged import Paged

pytestmark = pytest.mark.gpu
ERROR = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3}
TENSORS = ("tokens_N", "positions_N", "kv_slots_N", "block_table_SB", "sample_rows_R")


def to_cuda(rows):
    return replace(rows, **{name: getattr(rows, name).cuda() for name in TENSORS})


def step(q_lens, kv_lens, page, first_block=0):
    """Return rows on the GPU whose pages are shuffled among blocks from ``first_block`` on."""
    pages = [-(-n // page) for n in kv_lens]
    order = torch.randperm(sum(pages), dtype=torch.int32) + first_block
    table = torch.zeros(len(pages), max(pages), dtype=torch.int32)
    at = 0
    for s, count in enumerate(pages):
        table[s, :count] = order[at : at + count]
        at += count
    positions = [torch.arange(kv - q, kv) for q, kv in zip(q_lens, kv_lens, strict=True)]
    none = torch.zeros(0, dtype=torch.long)
    return to_cuda(
        StepRows(torch.zeros(sum(q_lens)).long(), torch.cat(positions), none, table, q_lens, kv_lens, none)
    )


def store(blocks, layer, page, dtype):
    shape = (blocks, layer.kv_heads, page, layer.head_dim)
    return LayerKV({x: torch.randn(shape, dtype=dtype, device="cuda") for x in "kv"}, RawCodec())


@pytest.mark.parametrize("dtype", list(ERROR))
@pytest.mark.parametrize(("head_dim", "page"), [(64, 16), (128, 16), (128, 64), (256, 32)])
@pytest.mark.parametrize(("window", "softcap"), [(None, None), (700, 30.0)])
def test_serving_sizes_equal_the_torch_backend(dtype, head_dim, page, window, softcap):
    layer = LayerSpec(0, 16, 4, head_dim, head_dim**-0.5, Mask(window), softcap)
    for q_lens, kv_lens in (([1] * 40, list(range(1, 4000, 100))), ([700, 1, 1, 33], [1500, 3000, 17, 33])):
        rows = step(q_lens, kv_lens, page)
        kv = store(int(rows.block_table_SB.max()) + 1, layer, page, dtype)
        q_NHD = torch.randn(sum(q_lens), 16, head_dim, dtype=dtype, device="cuda")
        parts = [
            b.attend(q_NHD, kv, layer, b.plan(rows, page)) for b in (TritonAttention(), TorchAttention())
        ]
        assert (parts[0].out_NHD.float() - parts[1].out_NHD.float()).abs().max() <= ERROR[dtype]
        assert (parts[0].lse_NH - parts[1].lse_NH).abs().max() <= max(ERROR[dtype], 1e-3)


def test_stores_beyond_two_to_the_31_elements():
    page, layer = 64, LayerSpec(0, 8, 8, 128, 128**-0.5)
    blocks = 2**31 // (layer.kv_heads * page * layer.head_dim) + 100
    near = step([1, 40], [300, 200], page)
    far = replace(near, block_table_SB=near.block_table_SB + (blocks - 20))
    kv = LayerKV(
        {x: torch.zeros(blocks, 8, page, 128, dtype=torch.bfloat16, device="cuda") for x in "kv"}, RawCodec()
    )
    for plane in kv.planes.values():
        plane[:20].normal_()
        plane[-20:] = plane[:20]
    q_NHD = torch.randn(41, 8, 128, dtype=torch.bfloat16, device="cuda")
    backend = TritonAttention()
    parts = [backend.attend(q_NHD, kv, layer, backend.plan(rows, page)) for rows in (near, far)]
    assert torch.equal(parts[0].out_NHD, parts[1].out_NHD)


def texts(*lengths):
    gen = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB, (n,), generator=gen) for n in lengths]


def drive(decoder, forward, kv, lengths):
    """Return a driver that builds its rows on the host and runs them on the GPU."""
    shim = SimpleNamespace(
        forward=lambda rows, store: forward(to_cuda(rows), store),
        logits=lambda hidden: decoder.logits(hidden).cpu(),
        new_kv=lambda blocks, page: kv or decoder.new_kv(blocks, page),
    )
    return Paged(shim, texts(*lengths), page_size=16)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(LONG_ONLY)))
def test_families_equal_transformers(family, tmp_path):
    oracle = make_model(family, tmp_path)
    decoder = load_model(str(tmp_path), device="cuda", dtype="float32", attention="triton")
    lengths = (19, 90, 33)
    got = drive(decoder, decoder.forward, None, lengths).run_mixed([7, 90, 1])
    for text, logits in zip(texts(*lengths), got, strict=True):
        with torch.no_grad():
            want = oracle(text[None]).logits[0]
        assert (logits - want).abs().max() <= 1e-3


@pytest.mark.parametrize("family", ["llama", "gemma2", "opt"])
@pytest.mark.parametrize("codec", ["auto", "int8"])
def test_captured_decode_equals_eager(family, codec, tmp_path):
    make_model(family, tmp_path)
    decoder = load_model(
        str(tmp_path), device="cuda", dtype="float32", attention="triton", kv_cache_dtype=codec
    )
    assert graph_refusal(decoder) is None
    lengths, results, runner = (40, 60, 20), [], None
    for graphs in (False, True):
        kv = decoder.new_kv(64, 16)
        if graphs:
            runner = GraphRunner(decoder, kv, buckets=(1, 2, 4))
        paged = drive(decoder, runner or decoder.forward, kv, lengths)
        out = [paged.step([(0, 20), (1, 40), (2, 1)])]
        for members in ((0, 1, 2), (1,), (0, 2), (0, 1, 2), (2, 0), (1,)):
            out.append(paged.step([(s, 1) for s in members]))
        results.append(torch.cat([part[s] for part in out for s in sorted(part)]))
    assert runner.failure is None
    assert runner.captured == (1, 2, 4)
    assert (results[0] - results[1]).abs().max() <= 1e-4


def test_mixtures_of_experts_are_refused_with_the_reason(tmp_path):
    make_model("mixtral", tmp_path)
    decoder = load_model(str(tmp_path), device="cuda", dtype="float32", attention="triton")
    assert "mixture-of-experts" in graph_refusal(decoder)
