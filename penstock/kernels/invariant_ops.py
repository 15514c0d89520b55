"""Dense operations whose result for a row is the same bits whatever its batch-mates and its place among them.

What breaks that in a normal library, and what is done here:

- GEMMs and reductions choose kernels, splits and summation orders by shape: every call here has one shape, a
  tile of `TILE` rows, the last one padded.
- Vectorised elementwise functions finish with scalar code, and start anew where a thread's share begins, and
  the two differ in the last bit of an exponential: every call here is one short run of whole vectors.

That a row's place within a tile does not matter is a property of the BLAS: `InvariantOps.check` tests it.

Legend: N rows, I input features, O output features, E hidden, F feed-forward width, X experts, K experts per
row, P (row, expert) pairs, D head dim, R rotary pairs, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.codes import Codes
from penstock.kernels.ops import TorchOps, Weight, activation, experts_one_by_one, rotate_half_pairs

TILE = 16
"""Rows per call. With 8, MKL's place in a tile shows in the last bit; with 16 it does not."""
_ALIGN = 16
"""Inputs are padded with zeros to a multiple: on some CPUs a row's alignment shows in the last bit."""
_RUN = 16384
"""Elements per elementwise call: a multiple of all vector widths, and below torch's threshold for threads."""


def by_tiles(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply ``fn`` to tiles of `TILE` leading rows, the last one padded with zeros, and join the results."""
    count = x.shape[0]
    if count == 0:
        return fn(x.new_zeros(TILE, *x.shape[1:]))[:0]
    short = -count % TILE
    padded = torch.cat((x, x.new_zeros(short, *x.shape[1:]))) if short else x.contiguous()
    return torch.cat([fn(tile) for tile in padded.split(TILE)])[:count]


def by_runs(fn: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply an elementwise ``fn`` to runs of `_RUN` elements, the last one padded with zeros."""
    flat = x.reshape(-1)
    short = -flat.numel() % _RUN
    padded = torch.cat((flat, flat.new_zeros(short))) if short else flat
    runs = [fn(run) for run in padded.split(_RUN)]
    return (torch.cat(runs) if runs else flat)[: flat.numel()].view(x.shape)


def _aligned(x_NI: Tensor, weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Pad the inputs of a product so that every row is aligned alike; real models' sizes are already."""
    short = -weight_OI.shape[1] % _ALIGN
    return (F.pad(x_NI, (0, short)), F.pad(weight_OI, (0, short))) if short else (x_NI, weight_OI)


class InvariantOps:
    """See the module's text. Slower than `TorchOps` by the padding and the number of calls."""

    name = "invariant"

    def __init__(self) -> None:
        self._plain = TorchOps()

    def check_all(self, weights: Iterable[object]) -> None:
        """`check` one matrix of each shape; what is no matrix is passed over."""
        found = {one.shape: one for one in weights if isinstance(one, Tensor) and one.dim() == 2}
        for weight_OI in found.values():
            self.check(weight_OI)

    def check(self, weight_OI: Tensor) -> None:
        """Test on a weight that a row's place in a tile does not matter to the installed BLAS.

        Raises:
            ConfigError: it does.
        """
        generator = torch.Generator(device=weight_OI.device).manual_seed(0)
        shape = (TILE, weight_OI.shape[1])
        x_NI = torch.empty(shape, dtype=weight_OI.dtype, device=weight_OI.device).normal_(generator=generator)
        x_NI, weight_OI = _aligned(x_NI, weight_OI)
        want_NO = F.linear(x_NI, weight_OI)
        if not all(torch.equal(F.linear(x_NI.roll(s, 0), weight_OI), want_NO.roll(s, 0)) for s in (1, 5, 11)):
            raise ConfigError(
                "model.batch_invariant",
                f"the BLAS here treats the rows of a {TILE}x{weight_OI.shape[1]} matrix differently",
            )

    def pack(
        self, weight_OI: Tensor | Codes, bias_O: Tensor | None = None, gated: str | None = None
    ) -> Weight:
        """See `TorchOps.pack`."""
        return self._plain.pack(weight_OI, bias_O, gated)

    def bundle(self, weights_X: Sequence[Weight]) -> Sequence[Weight]:
        """See `TorchOps.bundle`."""
        return self._plain.bundle(weights_X)

    def linear(
        self, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None, residual_NO: Tensor | None = None
    ) -> Tensor:
        """See `Ops.linear`."""
        assert isinstance(weight_OI, Tensor)
        x_NI, weight_OI = _aligned(x_NI, weight_OI)
        out_NO = by_tiles(lambda tile: F.linear(tile, weight_OI, bias_O), x_NI)
        return out_NO if residual_NO is None else residual_NO + out_NO

    def gated_linear(self, act: str, x_NI: Tensor, weight_OI: Weight, bias_O: Tensor | None = None) -> Tensor:
        """See `Ops.gated_linear`."""
        return self.gated(act, self.linear(x_NI, weight_OI, bias_O))

    def head(self, x_NI: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.head`."""
        return self.linear(x_NI, weight_OI).float()

    def lookup(self, ids_N: Tensor, weight_OI: Weight) -> Tensor:
        """See `Ops.lookup`."""
        return self._plain.lookup(ids_N, weight_OI)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float, offset: float = 0.0) -> Tensor:
        """See `Ops.rms_norm`."""
        return by_tiles(lambda tile: self._plain.rms_norm(tile, weight, eps, offset), x)

    def layer_norm(self, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
        """See `Ops.layer_norm`."""
        return by_tiles(lambda tile: self._plain.layer_norm(tile, weight, bias, eps), x)

    def activate(self, name: str, x: Tensor) -> Tensor:
        """See `Ops.activate`."""
        return by_runs(lambda run: activation(name, run), x)

    def gated(self, name: str, gate_up: Tensor) -> Tensor:
        """See `Ops.gated`."""
        gate, up = gate_up.chunk(2, dim=-1)
        return self.activate(name, gate) * up

    def rotate(self, x_NHD: Tensor, cos_NR: Tensor, sin_NR: Tensor) -> Tensor:
        """See `Ops.rotate`; products and sums round alike everywhere."""
        return rotate_half_pairs(x_NHD, cos_NR, sin_NR)

    def route(self, logits_NX: Tensor, top_k: int, renormalise: bool) -> tuple[Tensor, Tensor]:
        """See `Ops.route`."""
        probs_NX = by_tiles(lambda tile: torch.softmax(tile.float(), dim=-1), logits_NX)
        weights_NK, ids_NK = torch.topk(probs_NX, top_k, dim=-1)
        if renormalise:
            total_N1 = weights_NK[:, :1]
            for rank in range(1, top_k):
                total_N1 = total_N1 + weights_NK[:, rank : rank + 1]
            weights_NK = weights_NK / total_N1
        return weights_NK, ids_NK

    def experts(
        self,
        x_NE: Tensor,
        weights_NK: Tensor,
        ids_NK: Tensor,
        gate_up_XFE: Sequence[Weight] | Tensor,
        down_XEF: Sequence[Weight] | Tensor,
        act: str,
    ) -> Tensor:
        """See `Ops.experts`: a row's experts are summed in the order of their rank."""
        return experts_one_by_one(self, x_NE, weights_NK, ids_NK, gate_up_XFE, down_XEF, act)

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """See `Ops.softcap`."""
        return cap * by_runs(torch.tanh, x / cap)
