"""Requests per minute and tenant: the usual quota."""

from __future__ import annotations

from collections import deque

from penstock.core.policy import AdmitPolicy, EngineView, Reject
from penstock.core.request import RequestSpec
from penstock.policies.registry import register

WINDOW = 60.0


@register("admit", "rpm")
class RequestsPerMinute:
    """Reject a tenant's request while ``limit`` of its requests were accepted within the last 60 seconds.

    It protects others from one tenant, at the price of capacity that stays unused when the others are quiet;
    a fair order (``vtc``) does without that price.

    Args:
        limit: accepted requests of one tenant in any 60 seconds, >= 1.
        within: another admit policy to ask first, e.g. ``rpm(20, queue-bound(4096))``.
    """

    def __init__(self, limit: int, within: AdmitPolicy | None = None) -> None:
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"the limit must be a whole number of at least 1, got {limit!r}")
        if within is not None and not hasattr(within, "decide"):
            raise ValueError(f"the second argument must be an admit policy, got {within!r}")
        self._limit = limit
        self._within = within
        self._accepted: dict[str, deque[float]] = {}
        self._swept = 0.0

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Accept within the quota; else say when the oldest of the accepted leaves the window."""
        refusal = self._within.decide(spec, view) if self._within is not None else None
        if refusal is not None:
            return refusal
        now = view.now
        self._sweep(now)
        times = self._accepted.setdefault(spec.tenant, deque())
        while times and times[0] <= now - WINDOW:
            times.popleft()
        if len(times) >= self._limit:
            wait = times[0] + WINDOW - now
            return Reject(f"tenant {spec.tenant!r} is over {self._limit} requests per minute", wait)
        times.append(now)
        return None

    def _sweep(self, now: float) -> None:
        """Once a window, forget tenants that have been quiet for one."""
        if now - self._swept >= WINDOW:
            self._swept = now
            self._accepted = {t: times for t, times in self._accepted.items() if times[-1] > now - WINDOW}
