"""What always holds of a scheduler's books, whatever its policies are. Each raises `AssertionError`."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from penstock.core.state import SchedulerState
from penstock.core.states import SeqState


def check_books(state: SchedulerState) -> None:
    """Check everything here; O(blocks + sequences)."""
    check_blocks(state)
    check_references(state)
    check_pins(state)
    check_places(state)


def check_blocks(state: SchedulerState) -> None:
    """Every block is free, held or reclaimable, and in one condition only."""
    pool = state.kv.pool
    held = sum(1 for refs in pool.refs if refs > 0)
    idle = sum(1 for block in range(pool.size) if pool.refs[block] == 0 and pool.is_kept(block))
    assert idle == pool.reclaimable
    assert pool.free + held + idle == pool.size, "blocks lost or made up"
    assert len(set(pool._free)) == pool.free
    assert all(pool.refs[block] == 0 and not pool.is_kept(block) for block in pool._free)


def check_references(state: SchedulerState) -> None:
    """Every reference of a block belongs to a sequence, a release that waits for its step, or a pin."""
    pool, refs = state.kv.pool, Counter[int]()
    for seq in state.sequences.values():
        refs.update(seq.blocks)
    for _, blocks in pool._fence:
        refs.update(blocks)
    refs.update(state.kv.pins.held)
    wrong = [block for block in range(pool.size) if pool.refs[block] != refs[block]]
    assert not wrong, f"wrong reference counts of blocks {wrong}"


def check_pins(state: SchedulerState) -> None:
    """Each pin is a path of pages with one owner, and the owners that wait are known."""
    pins, refs = state.kv.pins, Counter[int]()
    for pin in pins._pins.values():
        refs.update(pin.blocks)
        assert pin.blocks and len(set(pin.blocks)) == len(pin.blocks)
        nodes = [state.kv.index._by_block[block] for block in pin.blocks]
        assert all(child.parent is node for node, child in pairwise(nodes)), "a pin is not a path"
    assert refs == Counter(pins.held), "pins lost or made up"
    waiting = Counter(("program", s.spec.tenant, s.spec.program) for s in state.waiting if s.spec.program)
    assert waiting == state.waiting.programs


def check_pins_end(state: SchedulerState, since: float) -> None:
    """No pin outlives its time unless its owner waits; ``since``: when pins were last looked at."""
    for owner, pin in state.kv.pins._pins.items():
        assert pin.deadline >= since or owner in state.waiting.programs, "a pin outlived its time"


def check_places(state: SchedulerState) -> None:
    """Every sequence is in exactly one of queue and running set, and its counts are in order."""
    running = set(state.running._members)
    for seq in state.sequences.values():
        assert (seq.state is SeqState.RUNNING) == (seq in running) == (seq.slot >= 0)
        assert seq.queued == (seq not in running)
        assert 0 <= seq.computed <= seq.planned <= seq.target <= seq.max_total


def check_empty(state: SchedulerState) -> None:
    """Nothing is live: nothing may be left either, but cached and pinned pages, which can be forgotten.

    Forgets them.
    """
    kv = state.kv
    assert not state.sequences and not state.in_flight and not len(state.running) and not len(state.waiting)
    assert not kv.pool.fenced and kv.available + len(kv.pins.held) == kv.pool.size
    assert not kv._under_way and not kv._announced, "a page is still said to be under way"
    assert kv.reset() and not len(kv.pins)
    assert kv.pool.free == kv.pool.size and not kv.index._roots, "the prefix cache did not empty"
