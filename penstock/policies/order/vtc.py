"""VTC: serve the tenant that has been served least, counting tokens as they are really processed.

Source: Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024). Nobody overtakes the head of
the least-charged tenant (`stops`), which is what the theorem rests on: with room reserved for final sizes
(``reserve=final``) the service of two tenants that both have work waiting never differs by more than
``2 U``, ``U = max(input price * longest prompt, output price * tokens that fit)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from penstock.core.policy import OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.order.vtc_index import LeastFirst
from penstock.policies.order.vtc_ledger import Ledger, Lift
from penstock.policies.order.vtc_price import Price, linear, profile
from penstock.policies.registry import register


class _Account(NamedTuple):
    """What admission charged a sequence for."""

    prompt: int
    predicted: int


@register("order", "vtc")
class VirtualTokens(KeyOrder):
    """``vtc``: by the tenants' virtual token counters; ``vtc > x`` orders each tenant's own by ``x``.

    The prompt is charged whole at admission (else one tenant could slip several in during one step),
    generated tokens as they land, divided by the request's weight. Recomputation is never charged.
    Among the running the most charged tenant's come last, so they give way first when memory runs out.

    Args:
        input_price: service units of a prompt token.
        output_price: service units of a generated token.
        lift: ``paper``, ``artifact`` or ``none``; see `Ledger`.
        charge: ``prompt`` charges for every prompt token, ``extend`` for those not found in the prefix cache.
        cost: ``linear``, or ``profile`` for the artifact's fitted cost (prices are then ignored).
        allowance: service units that a tenant which runs nothing may be ahead of the least charged one and
            still go first, so that a light tenant's small bursts do not wait. It adds to U in the bounds.
    """

    static = False
    picks_tenant = True
    service_bound = True

    def __init__(
        self,
        input_price: float = 1.0,
        output_price: float = 2.0,
        lift: Lift = "paper",
        charge: str = "prompt",
        cost: str = "linear",
        allowance: float = 0.0,
    ) -> None:
        if charge not in ("prompt", "extend"):
            raise ValueError(f"charge is 'prompt' or 'extend', got {charge!r}")
        if cost not in ("linear", "profile"):
            raise ValueError(f"cost is 'linear' or 'profile', got {cost!r}")
        self._price: Price = linear(input_price, output_price) if cost == "linear" else profile
        self._extend = charge == "extend"
        self.ledger = Ledger(lift, allowance)
        self._accounts: dict[int, _Account] = {}

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the counter of the sequence's tenant."""
        return self.ledger.counters.get(seq.spec.tenant, 0.0)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an index that finds the least-charged tenant; within a tenant, ``inner`` or arrival."""
        return LeastFirst(inner or _by_arrival, self.ledger.place)

    def predicted(self, seq: SequenceView) -> int:
        """Return how many output tokens to charge for at admission, refunded if they do not come."""
        return 0

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Lift the tenant's counter if it comes back."""
        self.ledger.arrive(seq)

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Charge the prompt, and what is predicted of the answer, once."""
        self.ledger.admit(seq)
        if seq.number not in self._accounts:
            prompt = seq.prompt_length - (seq.computed if self._extend else 0)
            account = _Account(prompt, self.predicted(seq))
            self._accounts[seq.number] = account
            self.ledger.charge(seq, self._price(*account))

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Charge generated tokens beyond the predicted ones."""
        if not decode:
            return
        prompt, predicted = self._accounts[seq.number]
        before, after = seq.generated, seq.generated + decode
        if after > predicted:
            self.ledger.charge(seq, self._price(prompt, after) - self._price(prompt, max(before, predicted)))

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Count it among the waiting again."""
        self.ledger.preempt(seq)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Refund what was predicted and did not come; whatever was processed stays charged."""
        self.ledger.finish(seq, running)
        account = self._accounts.pop(seq.number, None)
        if account is not None and account.predicted > seq.generated:
            prompt, predicted = account
            self.ledger.charge(seq, self._price(prompt, seq.generated) - self._price(prompt, predicted))


@register("order", "vtc-predict")
class PredictedTokens(VirtualTokens):
    """VTC that charges at admission for the tenant's usual answer: a moving mean, ``(4 p + length) / 5``.

    Counters then foresee what admission commits to, so service differs less at equal throughput. A tenant's
    first answer is its first prediction; until then nothing is predicted.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._usual: dict[str, float] = {}

    def predicted(self, seq: SequenceView) -> int:
        """Return the tenant's moving mean, at most what the request may generate."""
        return min(round(self._usual.get(seq.spec.tenant, 0.0)), seq.max_total - seq.prompt_length)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Settle the account, and learn from the length."""
        super().on_finish(seq, now, running)
        if seq.generated:
            tenant = seq.spec.tenant
            known = self._usual.get(tenant)
            self._usual[tenant] = seq.generated if known is None else (4 * known + seq.generated) / 5


@register("order", "vtc-oracle")
class ForetoldTokens(VirtualTokens):
    """VTC that charges at admission for the answer that a predictor foretold: ``length_score`` in tokens.

    With true lengths it is the bound of what prediction can bring; requests without a score are charged as
    their tokens come.
    """

    def predicted(self, seq: SequenceView) -> int:
        """Return the foretold length, at most what the request may generate."""
        foretold = seq.spec.length_score or 0.0
        return max(0, min(round(foretold), seq.max_total - seq.prompt_length))


def _by_arrival() -> OrderIndex:
    return SortedIndex(lambda seq, now: seq.arrival)
