"""Things that serve one customer at a time (a device, a link) or a few (tool workers)."""

from __future__ import annotations

import heapq


class Lane:
    """Serves one customer at a time, in the order of asking: a device, one direction of a link.

    Args:
        bandwidth: bytes per second, for `transfer`; 0 where only times are given.
        latency: seconds added to each transfer, during which the lane is not busy.
    """

    def __init__(self, bandwidth: float = 0.0, latency: float = 0.0) -> None:
        self._bandwidth = bandwidth
        self._latency = latency
        self.free_at = 0.0
        """When everything asked for so far is done."""
        self.busy_seconds = 0.0

    def reserve(self, now: float, seconds: float) -> float:
        """Queue ``seconds`` of work behind what was asked for before; return when it is done."""
        start = now if now > self.free_at else self.free_at
        self.free_at = start + seconds
        self.busy_seconds += seconds
        return self.free_at

    def transfer(self, now: float, size: float) -> float:
        """Queue a copy of ``size`` bytes; return when the last byte has arrived.

        Raises:
            ValueError: the lane has no bandwidth.
        """
        if self._bandwidth <= 0:
            raise ValueError("this lane has no bandwidth; reserve seconds instead")
        return self.reserve(now, size / self._bandwidth) + self._latency


class Pool:
    """Several equal servers with one queue: tool workers, CPU lanes.

    Args:
        servers: how many, >= 1.
    """

    def __init__(self, servers: int) -> None:
        if servers < 1:
            raise ValueError(f"a pool needs at least one server, got {servers}")
        self._free_at = [0.0] * servers

    def reserve(self, now: float, seconds: float) -> float:
        """Give ``seconds`` of work to the server that is free first; return when it is done."""
        done = max(now, self._free_at[0]) + seconds
        heapq.heapreplace(self._free_at, done)
        return done
