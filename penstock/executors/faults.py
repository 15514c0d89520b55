"""Faults on purpose, for tests of how the engine, its supervisor and the server take them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

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


class OnCommand:
    """Faults that another process orders by making files in a folder; each order is carried out once.

    ``raise`` makes the next step raise; ``hang`` makes it never return (it sleeps, holding up the engine's
    thread); ``exit`` ends the engine's process in the middle of it, without a word.

    Args:
        folder: where the orders appear.
    """

    ORDERS = ("raise", "hang", "exit")

    def __init__(self, folder: str | Path) -> None:
        self._paths = {order: str(Path(folder) / order) for order in self.ORDERS}

    def __call__(self, plan: StepPlan) -> None:
        """Look for orders; carry out the first."""
        for order, path in self._paths.items():
            try:
                os.unlink(path)  # the order is taken: whoever comes after a restart must not obey it again
            except OSError:
                continue
            self._obey(order)

    def _obey(self, order: str) -> None:
        if order == "raise":
            raise RuntimeError("failed on command")
        if order == "exit":
            os._exit(77)
        while True:
            time.sleep(3600)
