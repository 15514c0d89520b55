"""How much was used in the last minute, exactly enough that no minute ever holds more than its limit."""

from __future__ import annotations

import math
from collections import deque

GRAIN = 0.25
"""Seconds of uses that share an entry; they leave the window together, with the youngest of them."""


class Entry:
    """Uses of the same moment."""

    __slots__ = ("amount", "first", "gone", "last")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.amount = 0
        self.gone = False


class Window:
    """Sums what was used in the last ``seconds``.

    A token bucket of the same limit lets twice as much pass in a minute that begins with a full bucket. This
    keeps the promise as operators read it: in any ``seconds`` at most the limit. It holds at most
    ``seconds / GRAIN`` entries, whatever the traffic.

    Args:
        seconds: length of the window.
    """

    def __init__(self, seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._entries: deque[Entry] = deque()
        self._total = 0

    def used(self, now: float) -> int:
        """Return the sum of what was used in the window that ends now."""
        while self._entries and self._entries[0].last + self._seconds <= now:
            old = self._entries.popleft()
            old.gone = True
            self._total -= old.amount
        return self._total

    def wait(self, amount: int, limit: int, now: float) -> float:
        """Return the seconds until so much more stays within the limit; 0 if it does now, inf if never."""
        missing = self.used(now) + amount - limit
        if missing <= 0:
            return 0.0
        for entry in self._entries:
            missing -= entry.amount
            if missing <= 0:
                return entry.last + self._seconds - now
        return math.inf

    def add(self, amount: int, now: float) -> Entry:
        """Note a use, whether it fits or not; the entry is what `give_back` takes."""
        self.used(now)
        if not self._entries or now - self._entries[-1].first >= GRAIN:
            self._entries.append(Entry(now))
        entry = self._entries[-1]
        entry.last = now
        entry.amount += amount
        self._total += amount
        return entry

    def give_back(self, entry: Entry, amount: int) -> None:
        """Take back a part of what was noted in an entry; nothing once that has left the window."""
        if not entry.gone:
            entry.amount -= amount
            self._total -= amount

    def resets(self, now: float) -> float:
        """Return the seconds until the window is empty, if nothing else is used."""
        return self._entries[-1].last + self._seconds - now if self.used(now) else 0.0
