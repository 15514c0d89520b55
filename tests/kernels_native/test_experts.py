"""The grouped products of a mixture: by the definition in float64, and bit for bit expert by expert."""

import pytest
import torch
import torch.nn.functional as F

from penstock.kernels.codes import Codes, round_to_nearest
from penstock.kernels.native.experts import Experts
from penstock.kernels.native.ops import NativeOps
from penstock.kernels.ops import TorchOps

SIZES = [
    (0, 4, 2, 64, 32),
    (1, 1, 1, 3, 5),
    (1, 8, 2, 64, 160),
    (3, 8, 3, 33, 17),
    (5, 4, 4, 130, 31),
    (17, 5, 2, 100, 47),
    (130, 3, 1, 64, 65),
]
"""Rows, experts, experts per row, hidden size, feed-forward width."""
FORMS = {
    "float32": lambda weight: weight,
    "bfloat16": lambda weight: weight.bfloat16(),
    "u8": lambda weight: round_to_nearest(weight, 8),
    "u8-groups": lambda weight: round_to_nearest(weight, 8, 32),
    "u4": lambda weight: round_to_nearest(weight, 4, 32),
    "u4-up-u8-down": None,
}
GATES = {"silu": F.silu, "gelu_new": lambda x: F.gelu(x, approximate="tanh"), "relu": F.relu}


class Layer:
    """Random experts: plain in float64, packed, and packed in a bundle."""

    def __init__(self, sizes, form, seed=0, act="silu", bias=False):
        _, self.experts, self.top_k, self.hidden, self.width = sizes
        self.ops, self.act, self.codes = NativeOps(TorchOps()), act, form.startswith("u")
        self.generator = torch.Generator().manual_seed(seed)
        forms = ("u4", "u8") if form == "u4-up-u8-down" else (form, form)
        self.plain, self.lists = [], []
        for name, outputs, inputs in zip(
            forms, (2 * self.width, self.hidden), (self.hidden, self.width), strict=True
        ):
            weights = [FORMS[name](self.random(outputs, inputs) / inputs**0.5) for _ in range(self.experts)]
            biases = [self.random(outputs) if bias else None for _ in weights]
            gate = act if outputs == 2 * self.width and not self.plain else None
            self.lists.append([self.ops.pack(w, b, gate) for w, b in zip(weights, biases, strict=True)])
            self.plain.append(
                [
                    (w.dequantised() if isinstance(w, Codes) else w).double() for w in weights
                ]  # as the kernels see them
            )
            self.plain.append([torch.zeros(outputs).double() if b is None else b.double() for b in biases])
        self.bundles = [self.ops.bundle(one) for one in self.lists]
        assert all(isinstance(one, Experts) for one in self.bundles)

    def random(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def routes(self, rows, among=None):
        """Weights and distinct experts for each row, of the first few only if told."""
        scores = torch.rand(rows, self.experts, generator=self.generator)
        if among is not None:
            scores[:, max(among, self.top_k) :] = -1.0
        return torch.rand(rows, self.top_k, generator=self.generator), scores.topk(self.top_k).indices

    def grouped(self, x_NE, weights_NK, ids_NK):
        return self.ops.experts(x_NE, weights_NK, ids_NK, *self.bundles, self.act)

    def one_by_one(self, x_NE, weights_NK, ids_NK):
        return self.ops.experts(x_NE, weights_NK, ids_NK, *self.lists, self.act)

    def reference(self, x_NE, weights_NK, ids_NK):
        """The sum in float64, of activations rounded where codes need them so."""
        up, up_bias, down, down_bias = self.plain
        out_NE = torch.zeros(len(x_NE), self.hidden, dtype=torch.double)
        for n, k in torch.cartesian_prod(torch.arange(len(ids_NK)), torch.arange(self.top_k)).tolist():
            expert = int(ids_NK[n, k])
            gate_F, up_F = (up[expert] @ self._taken(x_NE[n].double()) + up_bias[expert]).chunk(2)
            hidden_F = (GATES[self.act](gate_F) * up_F).to(x_NE.dtype).double()
            out_E = down[expert] @ self._taken(hidden_F) + down_bias[expert]
            out_NE[n] += weights_NK[n, k].double() * out_E
        return out_NE

    def _taken(self, x):
        if not self.codes:
            return x
        scale = (x.abs().amax() / 127).clamp(min=1e-30)
        return (x / scale).round() * scale


@pytest.fixture(params=list(FORMS))
def form(request):
    return request.param


def _activations(layer, rows, form):
    return layer.random(rows, layer.hidden).to(torch.bfloat16 if form == "bfloat16" else torch.float32)


@pytest.mark.parametrize("act", list(GATES))
def test_by_the_definition(threads, form, act):
    # A number just between two codes may fall either way, in the rows and again between the two products.
    bound = 1e-5 if form == "float32" else 2**-6 if form == "bfloat16" else 0.05
    for seed, sizes in enumerate(SIZES):
        layer = Layer(sizes, form, seed, act, bias=bool(seed % 2))
        x_NE, routes = _activations(layer, sizes[0], form), layer.routes(sizes[0])
        got, want = layer.grouped(x_NE, *routes), layer.reference(x_NE, *routes)
        assert got.dtype == x_NE.dtype and got.shape == want.shape
        error = (got - want).abs() / (1 + want.abs())
        assert error.numel() == 0 or error.max() <= bound, sizes
        # All but those few numbers are as exact as the type of the sums.
        assert error.numel() == 0 or error.median() <= min(bound, 2**-9 if form == "bfloat16" else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_pair_has_the_bits_of_its_expert_called_alone(threads, form, dtype):
    for seed, (rows, experts, _, hidden, width) in enumerate(SIZES):
        layer = Layer((rows, experts, 1, hidden, width), form, seed, bias=True)
        x_NE = layer.random(rows, hidden).to(dtype)
        for among in (1, 2, None):
            ones_N1, ids_N1 = torch.ones(rows, 1), layer.routes(rows, among)[1]
            got = layer.grouped(x_NE, ones_N1, ids_N1)
            if rows:  # one by one takes no empty batch apart
                assert torch.equal(got, layer.one_by_one(x_NE, ones_N1, ids_N1))


def test_sums_are_those_of_one_by_one(threads, form):
    """Several experts a row: only the last bit of a fused multiply-add may differ."""
    for seed, sizes in enumerate(SIZES[1:]):
        layer = Layer(sizes, form, seed)
        x_NE, routes = _activations(layer, sizes[0], form), layer.routes(sizes[0])
        got, want = layer.grouped(x_NE, *routes).float(), layer.one_by_one(x_NE, *routes).float()
        bound = 2**-8 if form == "bfloat16" else 2**-20
        assert ((got - want).abs() <= bound * (1 + want.abs())).all()


def test_a_row_sums_up_in_the_order_of_its_ranking(threads):
    """In float32, 1e8 + 1 is 1e8: what is left of three experts tells in which order they were added."""
    ops, outputs = NativeOps(TorchOps()), (1e8, -1e8, 1.0)
    gate_up = ops.bundle([ops.pack(torch.ones(2, 1), None, "relu") for _ in outputs])
    down = ops.bundle([ops.pack(torch.tensor([[value]])) for value in outputs])
    ids_NK = torch.tensor([[0, 1, 2], [1, 0, 2], [0, 2, 1], [2, 0, 1]])
    got = ops.experts(torch.ones(4, 1), torch.ones(4, 3), ids_NK, gate_up, down, "relu")
    assert got.flatten().tolist() == [1.0, 1.0, 0.0, 0.0]


def test_a_row_does_not_depend_on_the_rows_beside_it(threads, form):
    layer = Layer((0, 6, 3, 100, 47), form, 1)
    rows = 150
    x_NE, (weights_NK, ids_NK) = _activations(layer, rows, form), layer.routes(rows)
    alone = torch.cat(
        [layer.grouped(x_NE[n : n + 1], weights_NK[n : n + 1], ids_NK[n : n + 1]) for n in range(rows)]
    )
    order = torch.randperm(rows, generator=layer.generator)
    assert torch.equal(layer.grouped(x_NE, weights_NK, ids_NK), alone)
    assert torch.equal(layer.grouped(x_NE[order], weights_NK[order], ids_NK[order]), alone[order])
    for among in (3, None):  # the others route anew: all to the same few, or anywhere
        other_NK, others_NK = layer.routes(rows, among)
        for kept in (slice(0, 7), slice(70, 71), slice(148, None)):
            other_NK[kept], others_NK[kept] = weights_NK[kept], ids_NK[kept]
            got = layer.grouped(x_NE, other_NK, others_NK)
            assert torch.equal(got[kept], alone[kept])


def test_a_row_of_nan_and_infinity_stays_by_itself(isa, form):
    layer = Layer((0, 4, 2, 33, 17), form)
    x_NE, routes = _activations(layer, 9, form), layer.routes(9, 2)
    want = layer.grouped(x_NE, *routes)
    spoilt = x_NE.clone()
    spoilt[3], spoilt[5, 2] = float("nan"), float("inf")
    got = layer.grouped(spoilt, *routes)
    rest = [n for n in range(9) if n not in (3, 5)]
    assert torch.equal(got[rest], want[rest])
    assert torch.equal(layer.grouped(x_NE, *routes), want), "what the last call left in memory shows"


def test_a_batch_beyond_the_memory_of_one_turn(isa):
    layer = Layer((0, 3, 2, 9, 5), "float32")
    x_NE, (weights_NK, ids_NK) = layer.random(60000, 9), layer.routes(60000)
    got = layer.grouped(x_NE, weights_NK, ids_NK)
    for at in (0, 20011, 39999, 59998):
        part = slice(at, at + 2)
        assert torch.equal(layer.grouped(x_NE[part], weights_NK[part], ids_NK[part]), got[part])
    assert torch.allclose(got, layer.one_by_one(x_NE, weights_NK, ids_NK), atol=1e-6, rtol=1e-5)


def test_strides_types_and_an_expert_chosen_twice(isa):
    layer = Layer((0, 4, 2, 33, 17), "float32")
    wide, (weights_NK, ids_NK) = layer.random(11, 90), layer.routes(11)
    ids_NK[4, 1] = ids_NK[4, 0]
    for x_NE in (wide[:, 5:38], layer.random(33, 11).T, layer.random(1, 33).expand(11, 33)):
        got = layer.grouped(x_NE, weights_NK.double(), ids_NK.int())
        assert torch.equal(got, layer.grouped(x_NE.contiguous(), weights_NK, ids_NK))
        want = layer.reference(x_NE, weights_NK, ids_NK)
        assert ((got - want).abs() / (1 + want.abs())).max() < 1e-5


def test_what_does_not_fit_is_refused(isa):
    layer = Layer((0, 4, 2, 33, 17), "bfloat16")
    x_NE, (weights_NK, ids_NK) = layer.random(3, 33), layer.routes(3)
    for wrong in (-1, 4, 2**40):
        with pytest.raises(IndexError, match="none of 4 experts"):
            layer.grouped(x_NE, weights_NK, torch.where(ids_NK == ids_NK[1, 1], wrong, ids_NK))
    for call in (
        (x_NE[:, :32], weights_NK, ids_NK),
        (x_NE[:2], weights_NK, ids_NK),
        (x_NE, weights_NK[:, :1], ids_NK),
    ):
        with pytest.raises(ValueError, match="do not fit 4 experts"):
            layer.grouped(*call)


def test_experts_of_several_forms_or_orders_run_one_by_one(isa):
    layer = Layer((0, 4, 2, 64, 32), "u8")
    ops, x_NE, routes = layer.ops, layer.random(9, 64), layer.routes(9)
    order_I = torch.randperm(64, generator=layer.generator)

    def ordered(weight_OI):
        codes = round_to_nearest(weight_OI[:, order_I], 8)
        return Codes(
            codes.codes_OI, codes.scales_GO, 8, codes.group, codes.dtype, codes.zero, order_I=order_I
        )

    plain = [layer.random(64, 64) / 8 for _ in range(4)]
    kinds = {
        "orders": [ops.pack(ordered(weight), None, "silu") for weight in plain],
        "forms": [
            ops.pack(round_to_nearest(weight, 8) if i else weight, None, "silu")
            for i, weight in enumerate(plain)
        ],
        "unpacked": plain,
    }
    for name, weights in kinds.items():
        bundle = ops.bundle(weights)
        assert bundle is weights, name
        if name != "unpacked":
            exact = torch.stack(plain)
            down = torch.stack([weight.float() for weight in layer.plain[2]])
            want = TorchOps().experts(x_NE, *routes, exact, down, "silu")
            got = ops.experts(x_NE, *routes, bundle, layer.bundles[1], "silu")
            assert (got - want).abs().max() < 0.1 * want.std(), name


def test_other_types_run_one_by_one(isa):
    layer = Layer((0, 4, 2, 64, 32), "float32")
    assert not isinstance(layer.ops.bundle([torch.zeros(3, 4).half()]), Experts)
    assert len(layer.bundles[0]) == 4 and layer.bundles[0][1] is layer.lists[0][1]
    assert list(layer.bundles[0][1:3]) == layer.lists[0][1:3]
