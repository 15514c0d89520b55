"""Bin packing of prompts into rows. Source: Zhao et al., "Prepacking" (2024), section 3."""

from __future__ import annotations

from collections.abc import Sequence


def first_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Pack items, longest first, each into the first bin that has room; at most 11/9 of the fewest bins + 1.

    Args:
        lengths: tokens of each item, >= 1.
        capacity: tokens of a bin.

    Returns:
        Indices of the items in each bin, in the order of packing; equal lengths go by index.

    Raises:
        ValueError: an item that is empty or larger than a bin.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for item in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        size = lengths[item]
        if not 1 <= size <= capacity:
            raise ValueError(f"item {item} of {size} tokens does not fit a bin of {capacity}")
        for number, left in enumerate(room):
            if size <= left:
                bins[number].append(item)
                room[number] -= size
                break
        else:
            bins.append([item])
            room.append(capacity - size)
    return bins


def by_length(lengths: Sequence[int], batch: int) -> list[list[int]]:
    """Return indices in batches of ``batch``, ordered by length (length-ordered batching)."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[at : at + batch] for at in range(0, len(order), batch)]
