"""The only authority on the blocks of one tier: who holds them, which are free, which may be reclaimed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable


class BlockPool:
    """Reference-counted blocks whose release is fenced by the ticket of the step that last used them.

    A block is in exactly one of three conditions:

    - *free*: nobody holds it and its contents do not matter;
    - *held*: some sequence refers to it (a release that waits for its ticket still holds it);
    - *reclaimable*: nobody refers to it, but the prefix index keeps its contents for later.

    Args:
        size: number of blocks; ids are ``0..size-1``.
        on_idle: called with a kept block's id when its last reference goes.
    """

    def __init__(self, size: int, on_idle: Callable[[int], None] | None = None) -> None:
        self.size = size
        self.refs = [0] * size
        self.reclaimable = 0
        self.landed = 0
        """Every step up to this ticket has landed."""
        self.fenced = 0
        """References whose release waits for a ticket."""
        self._free = list(range(size - 1, -1, -1))
        self._kept = bytearray(size)
        self._fence: deque[tuple[int, tuple[int, ...]]] = deque()
        self._on_idle = on_idle

    @property
    def free(self) -> int:
        """Blocks in no use at all."""
        return len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take free blocks, each with one reference.

        Raises:
            ValueError: fewer than ``count`` are free; nothing was taken.
        """
        free = self._free
        if count > len(free):
            raise ValueError(f"{count} blocks wanted, {len(free)} free")
        taken = [free.pop() for _ in range(count)]
        for block in taken:
            self.refs[block] = 1
        return taken

    def share(self, block: int) -> None:
        """Add a reference to a block that is held or kept."""
        refs = self.refs
        if refs[block] == 0:
            if not self._kept[block]:
                raise ValueError(f"block {block} is free and cannot be shared")
            self.reclaimable -= 1
        refs[block] += 1

    def release(self, blocks: Iterable[int], ticket: int) -> None:
        """Drop one reference of each block once ``ticket`` has landed (at once if it has)."""
        if ticket <= self.landed:
            self._drop(blocks)
            return
        waiting = tuple(blocks)
        self.fenced += len(waiting)
        self._fence.append((ticket, waiting))

    def land(self, ticket: int) -> None:
        """Note that every step up to ``ticket`` has landed, and do the releases that waited for it."""
        self.landed = ticket
        fence = self._fence
        # Releases are queued in the order of decision, not of tickets: look at each that waits.
        for _ in range(len(fence)):
            due, blocks = fence.popleft()
            if due <= ticket:
                self.fenced -= len(blocks)
                self._drop(blocks)
            else:
                fence.append((due, blocks))

    def keep(self, block: int) -> None:
        """Mark a held block as kept by the prefix index: it becomes reclaimable instead of free."""
        if self.refs[block] == 0 or self._kept[block]:
            raise ValueError(f"block {block} must be held and not kept yet")
        self._kept[block] = 1

    def discard(self, block: int) -> None:
        """Free a reclaimable block whose contents the prefix index has given up."""
        if self.refs[block] != 0 or not self._kept[block]:
            raise ValueError(f"block {block} is not reclaimable")
        self._kept[block] = 0
        self.reclaimable -= 1
        self._free.append(block)

    def _drop(self, blocks: Iterable[int]) -> None:
        refs = self.refs
        for block in blocks:
            left = refs[block] - 1
            if left < 0:
                raise ValueError(f"block {block} released more often than held")
            refs[block] = left
            if left:
                continue
            if self._kept[block]:
                self.reclaimable += 1
                if self._on_idle is not None:
                    self._on_idle(block)
            else:
                self._free.append(block)

    def is_kept(self, block: int) -> bool:
        """Whether the prefix index keeps this block's contents."""
        return bool(self._kept[block])
