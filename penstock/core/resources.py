"""Admission as one transaction over resources: all are acquired, or none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from penstock.core.kv.manager import KVManager
    from penstock.core.sequence import Sequence


CONTESTED = frozenset({"slots", "blocks"})
"""Resources of which a sequence that gives way leaves more to others."""


class Resource(Protocol):
    """Something a sequence must hold in order to run. A new feature adds one of these, not a branch."""

    name: str

    def try_acquire(self, seq: Sequence) -> bool:
        """Take what `seq` needs; False, with nothing changed, if it is not to be had now."""
        ...

    def release(self, seq: Sequence) -> None:
        """Give back what `seq` holds, once the last step that touches it has landed."""
        ...


def acquire_all(resources: tuple[Resource, ...], seq: Sequence) -> str | None:
    """Acquire every resource, or none; return the name of the one that was short, or None."""
    for i, resource in enumerate(resources):
        if not resource.try_acquire(seq):
            for held in reversed(resources[:i]):
                held.release(seq)
            return resource.name
    return None


class SlotResource:
    """Places in the executor's persistent batch; reuse is fenced by ticket like that of blocks.

    Args:
        count: number of slots.
    """

    name = "slots"

    def __init__(self, count: int) -> None:
        self._free = list(range(count - 1, -1, -1))
        self._fence: deque[tuple[int, int]] = deque()
        self._freed: set[int] = set()
        self._landed = 0

    @property
    def fenced(self) -> int:
        """Slots that come free when their step lands."""
        return len(self._fence)

    @property
    def available(self) -> int:
        """Slots that can be had at once."""
        return len(self._free)

    def try_acquire(self, seq: Sequence) -> bool:
        """Take a slot; False if all are taken."""
        if not self._free:
            return False
        seq.slot = self._free.pop()
        self._freed.discard(seq.slot)
        return True

    def release(self, seq: Sequence) -> None:
        """Give the slot back once the sequence's last step has landed."""
        if seq.ticket <= self._landed:
            self._free.append(seq.slot)
            self._freed.add(seq.slot)
        else:
            self._fence.append((seq.ticket, seq.slot))
        seq.slot = -1

    def land(self, ticket: int) -> None:
        """Note that every step up to ``ticket`` has landed."""
        self._landed = ticket
        for _ in range(len(self._fence)):
            due, slot = self._fence.popleft()
            if due <= ticket:
                self._free.append(slot)
                self._freed.add(slot)
            else:
                self._fence.append((due, slot))

    def take_freed(self) -> tuple[int, ...]:
        """Return the slots that fell free since the last call and were not taken again."""
        freed = tuple(self._freed)
        self._freed.clear()
        return freed


class PrefixResource:
    """The next page of a sequence, where somebody is about to have it ready: taking it means waiting for it.

    Args:
        kv: the manager.
    """

    name = "prefix"

    def __init__(self, kv: KVManager) -> None:
        self._kv = kv

    def try_acquire(self, seq: Sequence) -> bool:
        """Return False while the first page that `seq` would compute is being computed already."""
        return not self._kv.next_page_under_way(seq)

    def release(self, seq: Sequence) -> None:
        """Nothing was taken."""


class KVResource:
    """KV blocks for all of a sequence's known tokens, where the reserve policy's demand is met.

    Args:
        kv: the manager.
    """

    name = "blocks"

    def __init__(self, kv: KVManager) -> None:
        self._kv = kv
        self.demand: Callable[[Sequence], int] = lambda seq: 0
        """Blocks that must be obtainable for a sequence; set when the policies are shown the engine."""

    def try_acquire(self, seq: Sequence) -> bool:
        """Take the cached prefix and blocks for the rest; False if they are not to be had."""
        return self._kv.acquire(seq, self.demand(seq))

    def release(self, seq: Sequence) -> None:
        """Give every block back and forget what was computed."""
        self._kv.suspend(seq)
