"""When the readers of streams are woken: together and not for every token, the more streams there are.

Waking a reader, encoding its event and writing it to a socket costs about the same for one token as for ten.
With few streams every token goes out at once. With many, their tokens wait for each other a little, far below
what a person notices, and the processor that they would have cost stays with the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

SECONDS_PER_STREAM = 0.00025
"""What the streams may spend between two rounds, each: several times what an event costs."""


class Reader:
    """The side of a stream that is woken.

    Args:
        wake: wakes its reader; must not block or raise.
    """

    __slots__ = ("_begun", "_pending", "interval", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.interval = 1
        """Tokens to gather before it is woken, except for the first and the last."""
        self._pending = 0
        self._begun = False

    def news(self, tokens: int, urgent: bool) -> bool | None:
        """Count what came.

        Returns:
            True to be woken now, False to be woken in the next round, None to wait for more.
        """
        self._pending += tokens
        if urgent or not self._begun:
            self._begun = self._begun or self._pending > 0
        elif self._pending < self.interval:
            return None
        else:
            self._pending = 0
            return False
        self._pending = 0
        return True


class Rounds:
    """Wakes readers in rounds. Belongs to one event loop.

    Args:
        longest: most seconds between the rounds; 0 wakes every reader at once.
        streams: tells how many there are.
    """

    def __init__(self, longest: float, streams: Callable[[], int]) -> None:
        self._longest = longest
        self._streams = streams
        self._waiting: set[Reader] = set()
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, readers: Iterable[Reader]) -> None:
        """Have these woken in the next round, which may be now."""
        self._waiting.update(readers)
        if not self._waiting or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        due = self._last + min(self._longest, SECONDS_PER_STREAM * self._streams())
        if loop.time() >= due:
            self._round()
        else:
            self._timer = loop.call_at(due, self._round)

    def _round(self) -> None:
        self._timer = None
        self._last = asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, set()
        for reader in waiting:
            reader.wake()
