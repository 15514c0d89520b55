"""Faults on purpose, for tests of how the engine isolates the one request that a step cannot run."""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.plan import StepPlan


class FailFor:
    """Fails every step that computes anything for one request.

    Args:
        request_id: the poisoned request.
        error: makes the exception to raise.
        times: how often; None is always.
    """

    def __init__(
        self,
        request_id: str,
        error: Callable[[], Exception] = lambda: RuntimeError("poisoned"),
        times: int | None = None,
    ) -> None:
        self.request_id = request_id
        self.error = error
        self.left = times
        self.raised = 0
        self._holds: dict[int, str] = {}

    def __call__(self, plan: StepPlan) -> None:
        """Follow which request holds which slot, and raise if the poisoned one has work in the plan."""
        for slot in plan.frees:
            self._holds.pop(slot, None)
        for init in plan.admits:
            self._holds[init.slot] = init.request_id
        if self.left == 0:
            return
        if any(self._holds.get(item.slot) == self.request_id for item in plan.items):
            self.raised += 1
            if self.left is not None:
                self.left -= 1
            raise self.error()
