"""Longest prefix match: most cache hits, no fairness."""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.policy import EngineView, OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.order.lpm_match import WINDOW, MatchIndex, check_window
from penstock.policies.registry import register


@register("order", "lpm")
class LongestPrefixMatch(KeyOrder):
    """Whoever has most of its prompt in the prefix cache, looked up every step; ties go by arrival.

    Those that find no room are passed over. Prompts that nobody shares can starve while others match.
    Source: the cache-aware scheduling of Zheng et al., "SGLang" (2024).

    Args:
        window: waiting sequences looked up per step, the longest waiting ones; the rest follow by arrival.
    """

    stops = False
    needs_prefix_cache = "'fcfs'"
    starves = "prompts that nobody shares"

    def __init__(self, window: int = WINDOW) -> None:
        self._window = check_window(window)
        self._view: EngineView | None = None

    def bind(self, view: EngineView) -> None:
        """Keep the view, for look-ups."""
        self._view = view

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the arrival time, which ranks the running: what they hold is theirs already."""
        return seq.arrival

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an index by match; among equal matches those of ``inner`` decide, or arrival."""
        base = inner() if inner is not None else SortedIndex(lambda seq, now: seq.arrival)
        return MatchIndex(base, self._window, lambda: self._view)
