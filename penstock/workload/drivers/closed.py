"""A fixed number of clients, each sending its next request when the last one is answered
(DeepSpeed-FastGen)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from penstock.workload.driver import Served, World
from penstock.workload.request import TraceRequest


class ClosedLoop:
    """Keeps ``clients`` requests under way until the source is empty.

    Args:
        requests: what is sent, in this order; their arrivals are replaced.
        clients: how many are under way at once.
        pause: seconds between an answer and the client's next request, drawn per request; none if None.
    """

    def __init__(
        self, requests: Iterator[TraceRequest], clients: int, pause: Callable[[], float] | None = None
    ) -> None:
        self._requests, self._clients, self._pause = requests, clients, pause

    def begin(self, world: World) -> None:
        """Send the first request of every client."""
        for _ in range(self._clients):
            self._send(world, 0.0)

    def served(self, result: Served, world: World) -> None:
        """Send the client's next request."""
        self._send(world, self._pause() if self._pause is not None else 0.0)

    def _send(self, world: World, after: float) -> None:
        request = next(self._requests, None)
        if request is not None:
            world.submit(msgspec.structs.replace(request, arrival=world.now() + after))
