"""Everybody is let in."""

from __future__ import annotations

from penstock.core.policy import EngineView, Reject
from penstock.core.request import RequestSpec
from penstock.policies.registry import register


@register("admit", "unlimited")
class Unlimited:
    """Accept every request; the queue may grow without bound."""

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Accept."""
        return None
