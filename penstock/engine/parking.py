"""Submissions that wait for a grammar; everything else passes them by."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from penstock.engine.grammars import GrammarDesk
from penstock.engine.messages import Submit


class Parking:
    """Keeps submissions, and the grammars that they wait for, until all of those are there.

    Args:
        wake: called from another thread when one of them may go on.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._parked: list[tuple[bytes, Submit, list[Future[Any]]]] = []

    def park(self, name: bytes, message: Submit, desk: GrammarDesk | None) -> bool:
        """Keep a submission that must wait; False if it need not."""
        if desk is None:
            return False
        found = [desk.compile(spec) for spec in message.specs if spec.grammar is not None]
        futures = [future for future in found if future is not None]
        waiting = [future for future in futures if not future.done()]
        if not waiting:
            return False
        self._parked.append((name, message, futures))
        for future in waiting:
            future.add_done_callback(lambda _: self._wake())
        return True

    def ready(self) -> list[tuple[bytes, Submit, list[Future[Any]]]]:
        """Return the submissions that may go on, oldest first; their futures keep the grammars alive."""
        if not self._parked:
            return []
        parked, self._parked = self._parked, []
        ready: list[tuple[bytes, Submit, list[Future[Any]]]] = []
        for one in parked:
            done = all(future.done() for future in one[2])
            (ready if done else self._parked).append(one)
        return ready

    def drop(self, name: bytes, ids: Collection[str]) -> None:
        """Forget a client's submissions of which it wants no sequence any more."""
        if self._parked:
            gone = set(ids)
            self._parked = [
                one
                for one in self._parked
                if one[0] != name or not gone.issuperset(spec.id for spec in one[1].specs)
            ]
