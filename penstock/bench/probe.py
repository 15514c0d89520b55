"""A workload that shows an engine steps of every kind: few and many sequences, short and long, mixed."""

from __future__ import annotations

import numpy as np

from penstock.workload.driver import Served, World
from penstock.workload.request import Span, TraceRequest


class Probe:
    """Closed-loop users, more and more of them; lengths are drawn evenly over their logarithm.

    Implements `penstock.workload.driver.Driver`.

    Args:
        seconds: how long new requests are sent, shared evenly by the levels.
        longest: most tokens of prompt and output together.
        most: most users at once; levels are the powers of two up to it.
        seed: of the lengths.
    """

    def __init__(self, seconds: float, longest: int, most: int, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._longest = longest
        levels = [1 << k for k in range(most.bit_length()) if 1 << k < most] + [most]
        self._ends = [(seconds * (i + 1) / len(levels), users) for i, users in enumerate(levels)]
        self._sent = 0
        self._users = 0

    def begin(self, world: World) -> None:
        """Send the first request and set a timer for each level."""
        begun = 0.0
        for end, users in self._ends:
            world.at(begun, lambda users=users: self._level(users, world))  # type: ignore[misc]
            begun = end
        world.at(begun, lambda: self._level(0, world))

    def _level(self, users: int, world: World) -> None:
        new, self._users = users - self._users, users
        for _ in range(new):
            self._send(world)

    def _send(self, world: World) -> None:
        rng, room = self._rng, self._longest
        output = int(np.exp(rng.uniform(np.log(4), np.log(max(8, min(128, room // 4))))))
        prompt = int(np.exp(rng.uniform(0, np.log(max(2, room - output)))))
        self._sent += 1
        world.submit(
            TraceRequest(
                id=f"probe-{self._sent}",
                arrival=world.now(),
                prompt=(Span(self._sent, max(1, prompt)),),
                output_tokens=max(1, output),
            )
        )

    def served(self, result: Served, world: World) -> None:
        """Send the user's next request, while this many users are wanted."""
        if self._users and world.now() < self._ends[-1][0]:
            self._send(world)
