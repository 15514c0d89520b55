"""The heads of a layer in one kernel: against the plain steps, and in bits against kernels one by one."""

import pytest
import torch

from penstock.kernels.attention.layer import StepAttention, store_heads
from penstock.kernels.codec import Int8Codec
from penstock.kernels.compile import compile_attention
from penstock.kernels.heads import HeadBackend, HeadPrep, Stepwise, Turn
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.native.attention import NativeAttention
from penstock.kernels.native.heads import NativeHeads
from penstock.kernels.native.ops import NativeOps
from penstock.kernels.ops import TorchOps

torch.set_num_threads(1)
BOUND = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
SHAPES = [(4, 2, 16), (5, 1, 20), (3, 3, 7), (7, 7, 80), (16, 8, 128), (1, 1, 2), (9, 3, 66)]
"""Query heads, KV heads, head dim."""
PARTS = ["nothing", "norm", "turn", "partial", "both", "queries", "keys"]


def _prep(part, dim, dtype, generator):
    q_norm_D, k_norm_D = (torch.randn(dim, generator=generator).to(dtype) for _ in range(2))
    if part in ("nothing", "turn", "partial"):
        return HeadPrep()
    if part == "queries":
        return HeadPrep(q_norm_D, None, 1e-6, 1.0)
    return HeadPrep(None if part == "keys" else q_norm_D, k_norm_D, 1e-5, 1.0 if part == "both" else 0.0)


def _turn(part, rows, dim, generator):
    if part in ("nothing", "norm", "queries"):
        return None
    half = max(dim // 4, 1) if part == "partial" else dim // 2
    angle_NR = torch.rand(rows, half, generator=generator) * 6
    return Turn(angle_NR.cos(), angle_NR.sin())


class _Case:
    """A layer, its product, and stores of either way; ``stored`` of the rows are no padding."""

    def __init__(self, shape, rows, stored, part, dtype, codec=None):
        generator = torch.Generator().manual_seed(31 * rows + sum(shape))
        heads, kv_heads, dim = shape
        self.layer = LayerSpec(0, heads, kv_heads, dim, 1.0)
        self.stack = compile_attention([self.layer], dtype, "cpu", codec=codec, attention="torch")
        wide_NI = torch.randn(rows, (heads + 2 * kv_heads) * dim + 3, generator=generator) * 3
        self.heads_NI = wide_NI.to(dtype)[:, :-3]
        self.prep = _prep(part, dim, dtype, generator)
        self.turn = _turn(part, rows, dim, generator)
        self.slots_N = torch.randperm(6 * 16, generator=generator)[:stored]

    def run(self, prepare):
        """Return the queries and the planes."""
        kv = self.stack.new_store(6, 16).layer(0)
        wide_NI = torch.zeros(self.heads_NI.shape[0], self.heads_NI.shape[1] + 3, dtype=self.heads_NI.dtype)
        heads_NI = wide_NI[:, :-3]
        heads_NI.copy_(self.heads_NI)
        q_NHD = prepare(heads_NI, self.turn, kv, self.slots_N)
        assert q_NHD.shape == (len(heads_NI), self.layer.heads, self.layer.head_dim)
        assert (wide_NI[:, -3:] == 0).all()
        return q_NHD, kv.planes

    def native(self):
        return self.run(NativeHeads(self.layer, self.prep))

    def steps(self):
        """The kernels one by one."""
        return self.run(Stepwise(self.layer, self.prep, NativeOps(TorchOps()), NativeAttention().write))

    def plain(self):
        return self.run(self.stack.heads(self.layer, self.prep, TorchOps()))


def _close(got, want):
    assert got.dtype == want.dtype and got.shape == want.shape
    # Rotation subtracts: an error is as large as the numbers of the head are, not as the result.
    size = want.float().abs().amax(-1, keepdim=True)
    assert ((got.float() - want.float()).abs() <= BOUND[want.dtype] * (1 + size)).all()


@pytest.mark.parametrize("dtype", list(BOUND))
@pytest.mark.parametrize("part", PARTS)
def test_against_plain_steps_and_single_kernels(threads, part, dtype):
    for shape in SHAPES:
        for rows, stored in ((1, 1), (5, 5), (6, 2), (3, 0), (40, 37), (0, 0)):
            case = _Case(shape, rows, stored, part, dtype)
            (q_NHD, planes), (plain_NHD, plain_planes) = case.native(), case.plain()
            _close(q_NHD, plain_NHD)
            for name in ("k", "v"):
                _close(planes[name], plain_planes[name])
            assert torch.equal(planes["v"], plain_planes["v"]) and bool(planes["v"].any()) == bool(stored)
            steps_NHD, steps_planes = case.steps()
            assert torch.equal(q_NHD, steps_NHD)
            assert all(torch.equal(planes[name], steps_planes[name]) for name in planes)


@pytest.mark.parametrize("dtype", list(BOUND))
def test_int8_pages(threads, dtype):
    """What is stored is what the codec makes of the prepared keys and values."""
    for shape in SHAPES:
        for part in ("nothing", "both"):
            case = _Case(shape, 12, 9, part, dtype, Int8Codec())
            case.heads_NI[2] = 0.0
            q_NHD, planes = case.native()
            ops = NativeOps(TorchOps())
            want_NHD, want = case.run(Stepwise(case.layer, case.prep, ops, case.stack.write))
            assert torch.equal(q_NHD, want_NHD)
            assert set(planes) == {"k", "v", "k_scale", "v_scale"} and planes["k"].any()
            assert all(torch.equal(planes[name], want[name]) for name in planes)


@pytest.mark.parametrize("dtype", list(BOUND))
def test_what_is_no_number_stays_none_in_int8(isa, dtype):
    """A row with a NaN or an infinity reads back as such a row; its neighbours are as they were."""
    case = _Case((2, 2, 20), 5, 5, "nothing", dtype, Int8Codec())
    _, before = case.native()
    for bad in (float("nan"), float("inf"), float("-inf")):
        for place in (3, 17):  # in a whole vector, and in what is left
            case.heads_NI = case.heads_NI.clone()
            case.heads_NI[1, 2 * 20 + place] = bad
            _, after = case.native()
            block, offset = divmod(int(case.slots_N[1]), 16)
            scale = after["k_scale"][block, :, offset]
            assert not torch.isfinite(scale[0]) and torch.isfinite(scale[1])
            assert torch.isnan(scale[0]) == torch.isnan(torch.tensor(bad))
            for name in ("k", "v", "k_scale", "v_scale"):
                one, other = before[name].clone(), after[name].clone()
                one[block, 0, offset] = other[block, 0, offset] = 0
                assert torch.equal(one, other)
            case.heads_NI[1, 2 * 20 + place] = 1.0
            _, before = case.native()


def test_rows_do_not_see_each_other(threads):
    case = _Case((6, 2, 24), 50, 50, "both", torch.bfloat16)
    whole_NHD, planes = case.native()
    product_NI, turn, slots_N = case.heads_NI, case.turn, case.slots_N
    for n in (0, 7, 49):
        case.heads_NI, case.slots_N = product_NI[n : n + 1], slots_N[n : n + 1]
        case.turn = Turn(turn.cos_NR[n : n + 1], turn.sin_NR[n : n + 1])
        alone_NHD, alone = case.native()
        block, offset = divmod(int(slots_N[n]), 16)
        assert torch.equal(alone_NHD[0], whole_NHD[n])
        assert torch.equal(alone["k"][block, :, offset], planes["k"][block, :, offset])


def test_a_borrower_stores_nothing(isa):
    owner, borrower = LayerSpec(0, 4, 2, 16, 1.0), LayerSpec(1, 4, 2, 16, 1.0, kv_source=0)
    stack = compile_attention([owner, borrower], torch.float32, "cpu", kernels="native")
    store, product_NI = stack.new_store(2, 8), torch.randn(3, 8 * 16)
    turn, slots_N = Turn(torch.full((3, 8), 0.6), torch.full((3, 8), 0.8)), torch.arange(3)
    step = StepAttention(stack, store, None, slots_N, [turn])
    queries = []
    for layer, stored in ((borrower, False), (owner, True)):
        prepare = stack.heads(layer, HeadPrep(), TorchOps())
        queries.append(store_heads(layer, prepare, product_NI.clone(), 0, step))
        assert bool(store.layer(0).planes["k"].any()) == stored
    assert torch.equal(*queries)
    torch.testing.assert_close(queries[0], TorchOps().rotate(product_NI.view(3, 8, 16)[:, :4], *turn))


def test_chosen_by_the_backend(isa):
    layer = LayerSpec(0, 4, 2, 16, 1.0)
    for attention, wanted in (("native", NativeHeads), ("torch", Stepwise)):
        stack = compile_attention([layer], torch.float32, "cpu", kernels="native", attention=attention)
        assert isinstance(stack.backend, HeadBackend) == (attention == "native")
        assert type(stack.heads(layer, HeadPrep(), TorchOps())) is wanted
