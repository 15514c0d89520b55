"""Time to live from tool times: pin a turn's KV as long as that gains more than it costs."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register
from penstock.policies.retain.lifetimes import best_lifetime, prior_lifetime
from penstock.policies.retain.reload import ReloadFit, reload_seconds
from penstock.policies.retain.tools import ToolWatcher

ENOUGH = 100
"""Durations that a distribution needs more than."""


def _last(seq: SequenceView) -> bool:
    turn = seq.spec.turn
    return turn is not None and turn.last


@register("retain", "continuum")
class Continuum(ToolWatcher):
    """The lifetime that maximises F(t) * B - t, B = eta * (wait of evicted returns) + (time to recompute).

    F is the distribution of the tool's durations where more than 100 are known, else that of all tools, else
    exponential with a mean of one second (and eta = 1). Source: "Continuum" (arXiv 2511.02230).

    Args:
        window: durations remembered per tool, and finished programs.
        cost: what holding memory is charged: ``ttl``, the whole lifetime as in the paper, or ``expected``,
            the part of it that is used on average.
    """

    reason = "program"

    def __init__(self, window: int = 256, cost: str = "ttl") -> None:
        super().__init__(window)
        if cost not in ("ttl", "expected"):
            raise ValueError(f"cost is 'ttl' or 'expected', got {cost!r}")
        self._expected = cost == "expected"
        self._fit = ReloadFit(window)

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return the best lifetime, or 0 after the last turn."""
        if _last(seq):
            return 0.0
        known = self._durations(seq)
        eta = self.turns.eta() if known is not None else 1.0
        benefit = self.evicted_wait() * eta + self._reload(seq.computed, view)
        if known is None:
            return prior_lifetime(benefit, expected=self._expected)
        return best_lifetime(known, benefit, expected=self._expected)

    def _durations(self, seq: SequenceView) -> Sequence[float] | None:
        turn = seq.spec.turn
        window = self.by_tool.get(turn.tool) if turn is not None and turn.tool is not None else None
        if window is None or window.seen <= ENOUGH:
            window = self.overall
        return window.sorted if window.seen > ENOUGH else None

    def _reload(self, tokens: int, view: EngineView) -> float:
        if view.cost is not None:
            return reload_seconds(view.cost, tokens, view.token_budget)
        return self._fit.seconds(tokens)

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Note the wait, and start the watch on its prefill."""
        super().on_admit(seq, now)
        if self._view is not None and self._view.cost is None:
            self._fit.start(seq.number, seq.target - seq.computed, now)

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Stop the watch at the first token."""
        if decode and self._view is not None:
            self._fit.stop(seq.number, self._view.now)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Forget the watch, and note when the tool starts."""
        self._fit.forget(seq.number)
        super().on_finish(seq, now, running)


@register("retain", "continuum-preview")
class ContinuumPreview(ToolWatcher):
    """The rule of the authors' public preview: a fixed lifetime for tools that are quicker on average.

    A tool never seen is given the benefit of the doubt.

    Args:
        threshold: seconds; both the lifetime and the mean duration up to which it is granted.
        window: durations remembered per tool.
    """

    reason = "program"

    def __init__(self, threshold: float = 2.0, window: int = 256) -> None:
        super().__init__(window)
        if not isinstance(threshold, int | float) or threshold <= 0:
            raise ValueError(f"the threshold is a positive number of seconds, got {threshold!r}")
        self._threshold = float(threshold)

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return the threshold or 0."""
        if _last(seq):
            return 0.0
        turn = seq.spec.turn
        window = self.by_tool.get(turn.tool) if turn is not None and turn.tool is not None else self.overall
        if window is None or not window.sorted:
            return self._threshold
        mean = sum(window.sorted) / len(window.sorted)
        return self._threshold if mean <= self._threshold else 0.0
