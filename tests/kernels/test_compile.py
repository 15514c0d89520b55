"""The start-up compiler: figures, fingerprints, refusals with reasons, and axes that are really consulted."""

import dataclasses

import pytest
import torch

from penstock.core.errors import ConfigError
from penstock.kernels.attention.layer import StepAttention, attend_layer, store_heads
from penstock.kernels.attention.torch_backend import TorchAttention
from penstock.kernels.codec import Int8Codec, RawCodec
from penstock.kernels.compile import compile_attention
from penstock.kernels.heads import HeadPrep
from penstock.kernels.layer_spec import LayerSpec, Mask
from penstock.kernels.ops import TorchOps
from penstock.kernels.selector import ReadAll
from tests.kernels.reference import make_case

torch.set_num_threads(1)
FULL = LayerSpec(0, 4, 2, 16, 0.25)


def _layers(count=3, **change):
    return [dataclasses.replace(FULL, index=i, **change) for i in range(count)]


def test_bytes_per_token():
    assert compile_attention(_layers(), torch.bfloat16, "cpu").bytes_per_token == 3 * 2 * 2 * 16 * 2
    int8 = compile_attention(_layers(), torch.bfloat16, "cpu", codec=Int8Codec())
    assert int8.bytes_per_token == 3 * 2 * 2 * (16 + 4)
    # A layer that borrows its KV costs nothing.
    shared = [*_layers(2), dataclasses.replace(FULL, index=2, kv_source=1)]
    stack = compile_attention(shared, torch.float32, "cpu")
    assert stack.bytes_per_token == 2 * 2 * 2 * 16 * 4
    store = stack.new_store(4, 8)
    assert store.nbytes() == 5 * 8 * stack.bytes_per_token


def test_fingerprint_tells_what_is_stored():
    prints = {
        compile_attention(layers, dtype, "cpu", codec=codec).fingerprint
        for layers in (_layers(), _layers(mask=Mask(8)), _layers(2))
        for dtype in (torch.float32, torch.bfloat16)
        for codec in (RawCodec(), Int8Codec())
    }
    assert len(prints) == 12
    again = compile_attention(_layers(), torch.float32, "cpu").fingerprint
    assert again == compile_attention(_layers(), torch.float32, "cpu").fingerprint


class Grouped(RawCodec):
    name = "grouped"
    per_token = False


@pytest.mark.parametrize(
    ("layers", "options", "reason"),
    [
        (_layers(heads=3), {}, "3 heads is no multiple of 2 KV heads"),
        (_layers(mask=Mask(0)), {}, "window must be at least 1"),
        ([dataclasses.replace(FULL, kv_source=1), *_layers(2)[1:]], {}, "no earlier owner"),
        (
            [FULL, dataclasses.replace(FULL, index=1, kv_source=0, kv_heads=4)],
            {},
            "differ in KV heads or head dim",
        ),
        (_layers(), {"codec": Grouped(), "batch_invariant": True}, "keeps tokens apart; grouped does not"),
        (_layers(), {"attention": "flash"}, "expected one of torch, .*, got 'flash'"),
    ],
)
def test_bad_combinations_are_refused(layers, options, reason):
    with pytest.raises(ConfigError, match=reason):
        compile_attention(layers, torch.float32, "cpu", **options)


def test_every_axis_is_consulted():
    """A selector and a placement of the test see the step: the layer asks whatever axes it is given."""
    case = make_case(FULL, [(3, 40), (1, 17)], 8)
    seen = []

    class Watch(ReadAll):
        def pick(self, layer, q_NHD, plan):
            seen.append("pick")
            return super().pick(layer, q_NHD, plan)

        def observe(self, layer, plan, part):
            seen.append(("observe", part.out_NHD.shape[0]))

    class Halves:
        """Two sites: the first two pages, and the rest."""

        name = "halves"

        def __init__(self, backend):
            self.backend = backend

        def split(self, layer, plan):
            head = dataclasses.replace(plan.rows, kv_lens=[16, 16])
            tail = dataclasses.replace(
                plan.rows,
                positions_N=plan.rows.positions_N - 16,
                block_table_SB=plan.rows.block_table_SB[:, 2:],
                kv_lens=[length - 16 for length in plan.rows.kv_lens],
            )
            return [(self.backend, self.backend.plan(rows, plan.page_size)) for rows in (head, tail)]

    def run(**axes):
        stack = compile_attention([FULL], torch.float32, "cpu", **axes)
        plan = TorchAttention().plan(case.rows, 8)
        step = StepAttention(stack, case.store, plan, torch.empty(0, dtype=torch.int64))
        return attend_layer(FULL, case.q_NHD, step)

    plain = run()
    torch.testing.assert_close(run(selector=Watch(), placement=Halves), plain, atol=2e-6, rtol=1e-5)
    assert seen == ["pick", ("observe", 4)]


def test_write_through_also_inside_a_chunk():
    """A chunk reads its own rows through the codec: chunked and whole attend to the same stored values."""
    stack = compile_attention([FULL], torch.float32, "cpu", codec=Int8Codec())
    heads, prepare = torch.randn(12, (4 + 2 + 2) * 16), stack.heads(FULL, HeadPrep(), TorchOps())

    def run(chunks):
        store = stack.new_store(3, 4)
        out, start = [], 0
        for n in chunks:
            case = make_case(FULL, [(n, start + n)], 4)
            rows = dataclasses.replace(case.rows, block_table_SB=torch.tensor([[2, 0, 1]], dtype=torch.int32))
            at = torch.arange(start, start + n)
            slots = torch.tensor([2, 0, 1])[at // 4] * 4 + at % 4
            step = StepAttention(stack, store, stack.backend.plan(rows, 4), slots)
            q = store_heads(FULL, prepare, heads[start : start + n], None, step)
            out.append(attend_layer(FULL, q, step))
            start += n
        return torch.cat(out)

    torch.testing.assert_close(run([5, 1, 1, 5]), run([12]), atol=1e-6, rtol=1e-5)
