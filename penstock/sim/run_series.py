"""Load over virtual time: what ran, waited and held KV, sampled at steps, in bounded memory."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from penstock.sim.replica import Replica

POINTS = 2000
"""Samples kept per replica at most; the interval doubles when they are reached."""
COLUMNS = ("time", "running", "waiting", "kv_used", "step_tokens")


class Series:
    """One replica's load.

    Args:
        interval: seconds between samples at first.
    """

    def __init__(self, interval: float = 0.05) -> None:
        self._interval = interval
        self._next = 0.0
        self._columns = {name: array("d") for name in COLUMNS}
        self.steps = 0
        self.busy = 0.0
        """Seconds in which the device worked."""

    def step(self, replica: Replica, now: float, seconds: float, tokens: int) -> None:
        """Note a step; its load is sampled if the last sample is old enough."""
        self.steps += 1
        self.busy += seconds
        if now < self._next:
            return
        self._next = now + self._interval
        view = replica.engine
        used = 1.0 - view.blocks_available / view.blocks_total
        for name, value in zip(COLUMNS, (now, view.running, view.waiting, used, tokens), strict=True):
            self._columns[name].append(value)
        if len(self._columns["time"]) >= POINTS:
            self._interval *= 2
            for column in self._columns.values():
                del column[1::2]

    def __getitem__(self, name: str) -> Sequence[float]:
        """Return a column of `COLUMNS`; kv_used is a share of the blocks."""
        return self._columns[name]

    def thin(self, points: int) -> dict[str, list[float]]:
        """Return at most so many samples of every column."""
        stride = max(1, -(-len(self["time"]) // points))
        return {name: [round(v, 6) for v in column[::stride]] for name, column in self._columns.items()}
