"""Room for what is known now, and a little for those already running."""

from __future__ import annotations

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("reserve", "known")
class Known:
    """The blocks of the known tokens, plus a share of the pool while others run: growth may preempt.

    Args:
        headroom: share of the pool, in [0, 1), that must stay obtainable while anything runs.
    """

    def __init__(self, headroom: float = 0.01) -> None:
        if not 0 <= headroom < 1:
            raise ValueError(f"the headroom is a share of the pool in [0, 1), got {headroom!r}")
        self._headroom = float(headroom)

    def demand(self, seq: SequenceView, view: EngineView) -> int:
        """Return the pages of the known tokens, and the headroom."""
        pages = -(-seq.target // view.page_size)
        if not view.running or not self._headroom:
            return pages
        return pages + max(1, int(view.blocks_total * self._headroom))
