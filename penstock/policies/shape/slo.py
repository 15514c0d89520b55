"""As much prefill in a step as the decodes beside it can bear."""

from __future__ import annotations

import math

from penstock.core.plan import PlanShape
from penstock.core.policy import EngineView, SequenceView, StepCost, StepShape, Watcher
from penstock.policies.registry import register
from penstock.policies.shape.pace import Pace


@register("shape", "slo")
class SloShape(Watcher):
    """Stall-free batching whose budget follows the tightest ``tpot`` objective among the running decodes.

    The token that a step makes for a sequence is due ``tpot`` after the one before it was due, counted from
    its first token, so that what fast steps save may be spent on prefill later, ``stall`` objectives at a
    time. Who is late already is given steps within its objective. The budget is the largest whose step
    the cost model prices within `margin` of the tightest time, and at least ``floor``; without any
    objective it is the engine's. Prices come from the engine's cost model (``model.cost``), else from a
    line through its own recent steps. Contexts that the prefix cache gives to newcomers are not foreseen.

    Source: dynamic chunking of the stall-free schedule of Agrawal et al., "Sarathi-Serve" (OSDI 2024),
    section 4.3, decided per step instead of once.

    Args:
        floor: prefill tokens that a step may always have, >= 1; without it, prompts could wait for ever.
        margin: share of the allowed time that a step is planned to take, in (0, 1].
        stall: longest step, in objectives, that saved time may pay for, >= 1; 1 keeps every gap within the
            objective, more keeps the mean.
    """

    stall_free = True
    without_cost = "learns the engine's pace from its own steps"

    def __init__(self, floor: int = 32, margin: float = 0.9, stall: float = 2.0) -> None:
        if not isinstance(floor, int) or floor < 1:
            raise ValueError(f"the floor must be a whole number of tokens of at least 1, got {floor!r}")
        if not 0 < margin <= 1:
            raise ValueError(f"the margin must be a share in (0, 1], got {margin!r}")
        if not 1 <= stall < math.inf:
            raise ValueError(f"the stall is a number of objectives of at least 1, got {stall!r}")
        self._floor, self._margin, self._stall = floor, float(margin), float(stall)
        self._pace = Pace()
        self._view: EngineView | None = None
        self._first: dict[int, float] = {}

    def parts(self) -> tuple[object, ...]:
        """Return what learns the engine's pace."""
        return (self._pace,)

    def bind(self, view: EngineView) -> None:
        """Remember whose clock it is."""
        self._view = view

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Note when a sequence with an objective got its first token."""
        if decode and seq.spec.slo is not None and seq.number not in self._first:
            assert self._view is not None
            self._first[seq.number] = self._view.now

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Forget it."""
        self._first.pop(seq.number, None)

    def allowed(self, seq: SequenceView, now: float) -> float:
        """Return the seconds that the next step may take for a decoding sequence's sake."""
        slo = seq.spec.slo
        if slo is None or slo.tpot is None:
            return math.inf
        first = self._first.get(seq.number)
        if first is None:
            return slo.tpot
        made = seq.target - seq.prompt_length
        return min(max(first + made * slo.tpot - now, slo.tpot), self._stall * slo.tpot)

    def shape(self, view: EngineView) -> StepShape:
        """Return a mixed step under the largest budget that everybody can bear."""
        self._pace.tick(view.now)
        limit, budget = math.inf, view.token_budget
        decodes = kv = kv_max = partial = context = 0
        for seq in view.running_sequences():
            if seq.target - seq.planned > 1:
                partial += 1
                context = max(context, seq.planned)
                continue
            decodes += 1
            kv += seq.planned + 1
            kv_max = max(kv_max, seq.planned + 1)
            limit = min(limit, self.allowed(seq, view.now))
        most = max(budget - decodes, 1)
        if limit < math.inf and (partial or view.waiting):
            step = _Step(view.cost or self._pace, decodes, kv, kv_max, partial + view.waiting, context)
            most = largest(step, most, limit * self._margin, min(self._floor, most))
        return StepShape(tokens=min(budget, decodes + most), prefill_tokens=most, chunk=most)


class _Step:
    """What a step would cost beside given decodes, by its prefill tokens."""

    def __init__(
        self, cost: StepCost, decodes: int, kv: int, kv_max: int, prompts: int, context: int
    ) -> None:
        self._cost, self._decodes, self._kv, self._kv_max = cost, decodes, kv, kv_max
        self._prompts, self._context = prompts, context

    def __call__(self, tokens: int) -> float:
        """Return seconds. Every row is priced behind the longest context there is: never too little."""
        prompts = min(tokens, self._prompts)
        return self._cost.step(
            PlanShape(
                self._decodes + tokens,
                self._decodes + prompts,
                self._decodes,
                tokens,
                self._kv,
                tokens * self._context + tokens * (tokens + 1) // 2,
                self._decodes + prompts,
                self._context * prompts,
                self._kv_max,
            )
        )


def largest(step: _Step, most: int, limit: float, floor: int) -> int:
    """Return the largest number of tokens in ``floor..most`` whose step takes ``limit``, else ``floor``."""
    if step(most) <= limit:
        return most
    low, high = floor, most
    while high - low > max(1, low // 64):  # within 1.5 %, for a few calls less
        middle = (low + high) // 2
        if step(middle) <= limit:
            low = middle
        else:
            high = middle
    return low
