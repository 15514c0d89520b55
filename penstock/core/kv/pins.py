"""Pins: references on cached pages that no sequence holds, each with its reason, its owner and a deadline.

A page may be kept for a program that is expected back, and for a group of requests that share it, at once:
each pin counts for itself, and a page is nobody's only when the last reference goes. While it is pinned it
is neither reclaimable nor available, so that neither eviction nor admission can take it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from penstock.core.kv.pool import BlockPool

Reason = Literal["program", "group"]


class Owner(NamedTuple):
    """On whose behalf pages are kept."""

    reason: Reason
    tenant: str
    name: str


class Pin(NamedTuple):
    """Pages kept for an owner; the path is whole, from the root of its namespace on."""

    blocks: tuple[int, ...]
    deadline: float
    """Engine-clock seconds after which it lapses."""
    since: float
    """When the owner first arrived; whoever came last gives up first."""


class PinTable:
    """The only holder of references that belong to no sequence.

    Args:
        pool: the blocks.
    """

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._pins: dict[Owner, Pin] = {}
        self._earliest = float("inf")
        self.held: dict[int, int] = {}
        """Pins on each pinned block."""
        self.made = 0
        """Pins so far."""
        self.returned = 0
        """Of these, handed over to the owner's next sequence."""
        self.lapsed = 0
        """Of these, ended by their deadline."""
        self.given_up = 0
        """Of these, ended because memory was short."""

    def __len__(self) -> int:
        """Pins."""
        return len(self._pins)

    def __contains__(self, owner: object) -> bool:
        """Whether an owner has a pin."""
        return owner in self._pins

    def pin(self, owner: Owner, blocks: Sequence[int], deadline: float, since: float) -> None:
        """Keep pages for an owner, in place of those kept for it before.

        Args:
            owner: on whose behalf.
            blocks: published pages that are held or kept, the whole path from the first one on.
            deadline: engine-clock seconds; the pin lapses after it.
            since: when the owner first arrived.
        """
        for block in blocks:
            self._pool.share(block)
            self.held[block] = self.held.get(block, 0) + 1
        self.release(owner)
        if blocks:
            self._pins[owner] = Pin(tuple(blocks), deadline, since)
            self._earliest = min(self._earliest, deadline)
            self.made += 1

    def release(self, owner: Owner) -> bool:
        """End an owner's pin; False if there is none."""
        pin = self._pins.pop(owner, None)
        if pin is None:
            return False
        held = self.held
        for block in pin.blocks:
            left = held[block] - 1
            if left:
                held[block] = left
            else:
                del held[block]
        # Deepest first, as everywhere. No step writes to a published page, so nothing has to land first.
        self._pool.release(reversed(pin.blocks), 0)
        return True

    def hand_over(self, owner: Owner) -> None:
        """End a pin whose owner is back: its new sequence holds what it uses of the pages."""
        if self.release(owner):
            self.returned += 1

    def expire(self, now: float, wanted: Callable[[Owner], bool]) -> None:
        """End every pin whose deadline has passed, except those whose owner waits to be admitted."""
        if now <= self._earliest:
            return
        for owner, pin in list(self._pins.items()):
            if now > pin.deadline and not wanted(owner):
                self.release(owner)
                self.lapsed += 1
        self._earliest = min((pin.deadline for pin in self._pins.values()), default=float("inf"))

    def give_up(self, last: Owner | None = None) -> bool:
        """End the pin that is worth least, of those whose end gives memory back; False if there is none.

        Programs come before groups, and of either whoever arrived last before the others.

        Args:
            last: an owner whose pin is to be spared while there are others.
        """
        refs, held = self._pool.refs, self.held
        freeing = [
            (owner != last, owner.reason == "program", pin.since, owner)
            for owner, pin in self._pins.items()
            if refs[pin.blocks[-1]] == held[pin.blocks[-1]]
        ]
        if not freeing:
            return False
        self.release(max(freeing)[-1])
        self.given_up += 1
        return True

    def clear(self) -> None:
        """End every pin."""
        for owner in list(self._pins):
            self.release(owner)

    def alone(self) -> int:
        """Return how many blocks nobody but pins refers to; O(blocks pinned)."""
        refs = self._pool.refs
        return sum(1 for block, pins in self.held.items() if refs[block] == pins)
