"""Room for the largest size that the sequence and everybody running may reach."""

from __future__ import annotations

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("reserve", "final")
class Final:
    """The blocks of the final size, while those that the running may still need stay obtainable.

    Growth then never preempts (an order may still displace). The fairness theorems of VTC and DLPM speak of
    this admission. It is as generous as the clients' ``max_tokens`` are tight. O(running) per candidate.
    """

    covers_growth = True

    def demand(self, seq: SequenceView, view: EngineView) -> int:
        """Return the pages of the final size, and those that the running have yet to take."""
        page = view.page_size
        owed = sum(-(-other.max_total // page) - len(other.blocks) for other in view.running_sequences())
        return -(-seq.max_total // page) + owed
