"""The conformance kit for the slots beyond the queue: reserve, retain and route.

As in `penstock.testing.conformance`, each check raises AssertionError with the clause that was broken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from penstock.core.policy import ReservePolicy, RetainPolicy, RoutePolicy
from penstock.core.request import Turn
from penstock.testing.builders import make_request
from penstock.testing.conformance import FixedView, population

LONGEST = 7 * 24 * 3600.0
"""Seconds; whoever pins for longer pins for ever."""


def check_reserve(make: Callable[[], ReservePolicy]) -> None:
    """Hold a reserve policy to its contract.

    Demands are whole numbers, the same twice, and an engine in which nothing runs can meet those of every
    sequence that fits it: otherwise that sequence would wait for ever.

    Raises:
        AssertionError: with the clause that was broken.
    """
    page = 4
    for seed in range(5):
        for seq in population(40, seed):
            total = -(-seq.max_total // page)
            empty: Any = FixedView(
                running=0, waiting=1, blocks_available=total, blocks_total=total, page_size=page
            )
            demand = make().demand(seq, empty)
            assert isinstance(demand, int) and demand >= 0, "demand() must return a whole number of blocks"
            assert demand == make().demand(seq, empty), "demand() must be deterministic"
            assert demand <= total, "an engine with nothing else to do must be able to meet the demand"


def check_retain(make: Callable[[], RetainPolicy]) -> None:
    """Hold a retain policy to its contract: pins are finite, not negative, and the same twice.

    Raises:
        AssertionError: with the clause that was broken.
    """
    view: Any = FixedView()
    turns = (None, Turn(index=0, tool="search"), Turn(index=3), Turn(index=4, last=True))
    for seed, turn in enumerate(turns):
        program = None if turn is None else f"p{seed}"
        request = make_request("a", 20, max_tokens=5, program=program, turn=turn)
        (seq,) = population(1, seed)
        seq.spec = request
        seconds = make().seconds(seq, view)
        assert isinstance(seconds, int | float) and not math.isnan(seconds), "seconds() must return a number"
        assert seconds >= 0, "seconds() must not be negative"
        assert seconds <= LONGEST, "a pin must end: seconds() must be finite and within a week"
        assert seconds == make().seconds(seq, view), "seconds() must be deterministic"


class Place:
    """A `ReplicaView` whose figures are given."""

    def __init__(self, number: int, outstanding: int) -> None:
        self.number = number
        self.outstanding = outstanding
        self.engine: Any = FixedView(running=outstanding, waiting=0)

    def cached_tokens(self, prompt_ids: tuple[int, ...]) -> int:
        """Return 0."""
        return 0


def check_route(make: Callable[[], RoutePolicy]) -> None:
    """Hold a route policy to its contract.

    A choice is a place among the replicas, whatever their numbers; equal histories give equal choices; ends
    of requests are taken in, in any order; nothing is kept of requests that ended.

    Raises:
        AssertionError: with the clause that was broken.
    """
    first, second = _routed(make(), 60), _routed(make(), 60)
    assert first == second, "choose() must be deterministic"
    policy = make()
    _routed(policy, 60)
    _forgets(policy)


def _routed(policy: RoutePolicy, count: int) -> list[int]:
    """Send requests to a changing number of replicas, which end out of order; return the choices."""
    replicas = [Place(number, 0) for number in range(7, 0, -1)]
    chosen, live = [], []
    for index in range(count):
        there: list[Any] = replicas[: 1 + index % len(replicas)]
        spec = make_request(f"{_MARK}{index}", 5 + index % 9, tenant="abc"[index % 3])
        place = policy.choose(spec, there, float(index))
        assert isinstance(place, int) and 0 <= place < len(there), "choose() must return a place in replicas"
        chosen.append(place)
        there[place].outstanding += 1
        live.append((spec.id, there[place]))
        if index % 3 == 2:
            _end(policy, live.pop(index % len(live)), float(index))
    for one in live:
        _end(policy, one, float(count))
    return chosen


def _end(policy: RoutePolicy, one: tuple[str, Place], now: float) -> None:
    request_id, replica = one
    replica.outstanding -= 1
    try:
        policy.on_finish(request_id, replica.number, now)
    except Exception as error:
        raise AssertionError(f"on_finish() must take the end of every request in: {error!r}") from error


_MARK = "conformance-request-"


def _forgets(policy: RoutePolicy) -> None:
    from penstock.testing.conformance_lives import reachable

    held = [thing for thing in reachable(policy) if isinstance(thing, str) and thing.startswith(_MARK)]
    assert not held, f"still remembers {len(held)} requests that ended: memory would grow without end"
