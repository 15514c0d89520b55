"""The conformance kit for policies that follow sequences' lives, and for any policy within a whole engine.

As in `penstock.testing.conformance`, each check raises AssertionError with the clause that was broken.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from penstock.core.errors import Overloaded
from penstock.core.output import FinishReason
from penstock.core.policy import OrderPolicy, Policies, Watcher
from penstock.core.request import Turn
from penstock.core.scheduler import Scheduler
from penstock.core.sequence import Sequence as Seq
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore
from penstock.policies.parse import parse_policy
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.conformance import FixedView, population
from penstock.testing.fake_executor import FakeExecutor

DEFAULTS = {
    "order": "fcfs",
    "shape": "chunked",
    "preempt": "newest",
    "evict": "lru",
    "admit": "unlimited",
    "reserve": "known",
    "retain": "none",
}
LIVES = {
    "leaves the queue unadmitted": ("arrive", "leave"),
    "is served": ("arrive", "admit", "prefill", "decode", "finish"),
    "is preempted and resumed": ("arrive", "admit", "prefill", "preempt", "admit", "decode", "finish"),
    "is preempted and leaves the queue": ("arrive", "admit", "decode", "preempt", "leave"),
    "ends before its first step lands": ("arrive", "admit", "finish"),
}
"""What may happen to a sequence, by what a report calls it."""
_OPAQUE = (type, FunctionType, BuiltinFunctionType, ModuleType)
_PATIENCE = 3000
"""Ticks without newcomers after which everybody must have ended."""


def check_lives(slot: str, make: Callable[[], Any]) -> None:
    """Hold a policy of any engine slot to what it owes while sequences come, give way, and go.

    If it is a watcher: every kind of life is coped with, and nothing is kept of a sequence that ended. In a
    whole engine, short of memory, with cancellations: everybody who is admitted ends, and the same history
    gives the same output.

    Args:
        slot: order, shape, preempt, evict, admit, reserve or retain.
        make: returns a fresh policy.

    Raises:
        AssertionError: with the clause that was broken.
    """
    if slot == "order":
        check_hands_off(make)
    policy = make()
    if isinstance(policy, Watcher):
        _scripted(policy)
        _forgets(policy)
    first = _engine_run(slot, make())
    policy = make()
    assert first == _engine_run(slot, policy), "the same history must give the same outputs in the same order"
    _forgets(policy)


def check_hands_off(make: Callable[[], OrderPolicy]) -> None:
    """Hold an order to looking only: nothing about a sequence may change by being ranked.

    Raises:
        AssertionError: with the clause that was broken.
    """
    seqs = population(30, 3)
    before = [_state(seq) for seq in seqs]
    policy = make()
    list(policy.rank(list(seqs), 20.0))
    index = policy.index()
    for seq in seqs:
        index.add(seq)
    next(index.candidates(20.0), None)
    for seq in seqs:
        index.remove(seq)
        policy.key(seq, 20.0)
        policy.may_displace(seq, seqs[0], 20.0)
    assert before == [_state(seq) for seq in seqs], "a policy must only look: it changed a sequence"


def _state(seq: Seq) -> tuple[Any, ...]:
    return tuple(
        list(value) if isinstance(value, list) else value
        for value in (getattr(seq, name) for name in sorted(_fields(seq)))
    )


def _fields(seq: Seq) -> Iterator[str]:
    for kind in type(seq).__mro__:
        yield from getattr(kind, "__slots__", ())
    yield from getattr(seq, "__dict__", ())


def _scripted(policy: Watcher) -> None:
    """Play every kind of life, interleaved."""
    view: Any = FixedView(now=0.0)
    for part in _all_parts(policy):
        part.bind(view)
    seqs = population(4 * len(LIVES), 5)
    scripts = [(seq, list(LIVES.items())[place % len(LIVES)]) for place, seq in enumerate(seqs)]
    for turn in range(max(map(len, LIVES.values()))):
        view.now = float(turn)
        for seq, (life, events) in scripts:
            if turn < len(events):
                for part in _all_parts(policy):
                    _tell(part, events[turn], seq, float(turn), life)


def _all_parts(policy: Watcher) -> list[Watcher]:
    found, pending = [], [policy]
    while pending:
        one = pending.pop(0)
        found.append(one)
        pending += [part for part in one.parts() if isinstance(part, Watcher)]
    return found


def _tell(policy: Watcher, event: str, seq: Seq, now: float, life: str) -> None:
    calls: dict[str, Callable[[], None]] = {
        "arrive": lambda: policy.on_arrive(seq, now),
        "admit": lambda: policy.on_admit(seq, now),
        "prefill": lambda: policy.on_tokens(seq, seq.prompt_length, 0),
        "decode": lambda: policy.on_tokens(seq, 0, 1),
        "preempt": lambda: policy.on_preempt(seq, now),
        "finish": lambda: policy.on_finish(seq, now, True),
        "leave": lambda: policy.on_finish(seq, now, False),
    }
    if event == "preempt":
        seq.preemptions += 1
    try:
        calls[event]()
    except Exception as error:
        raise AssertionError(f"a sequence that {life}: {event} fails with {error!r}") from error


def reachable(thing: object) -> Iterator[object]:
    """Yield every object that can be reached from one, code and types left out."""
    seen: set[int] = set()
    pending: list[object] = [thing]
    while pending:
        one = pending.pop()
        if id(one) in seen or isinstance(one, _OPAQUE):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, FixedView | Scheduler | SchedulerState | EngineCore):
            continue
        pending += gc.get_referents(one)
        if isinstance(one, dict):
            pending += one.keys()  # texts among its keys are no business of the collector's


def _forgets(policy: object) -> None:
    """Nothing of sequences that ended may be held; the engine's own books let go of them."""
    held = [one for one in reachable(policy) if isinstance(one, Seq)]
    assert not held, f"still remembers {len(held)} sequences that ended: memory would grow without end"


def _engine_run(slot: str, policy: Any) -> list[Any]:
    """Run an engine that is short of blocks; return everything that it said."""
    policies = Policies(
        **{name: policy if name == slot else parse_policy(name, text) for name, text in DEFAULTS.items()}  # type: ignore[arg-type]
    )
    clock = ManualClock()
    spec = make_spec(slots=4, blocks=24, page_size=4, layers=4)
    state = SchedulerState(spec, policies, max_seqs=4, max_tokens=16)
    engine = EngineCore(Scheduler(state), FakeExecutor(spec, clock=clock), clock)
    rng = random.Random(7)
    said: list[Any] = []
    live: set[str] = set()
    for number in range(60):
        request = make_request(
            f"r{number}",
            rng.randrange(1, 40),
            max_tokens=rng.randrange(1, 16),
            tenant=rng.choice("abc"),
            priority=rng.randrange(3),
            program=f"p{number % 7}" if number % 3 else None,
            turn=Turn(index=number // 7, last=number > 52, tool=rng.choice(["ls", None]))
            if number % 3
            else None,
            length_score=rng.random(),
            group=rng.choice([None, "g", "h"]),
        )
        try:
            engine.submit(request)
            live.add(request.id)
        except Overloaded:
            pass
        if number % 11 == 10 and live:
            engine.cancel(min(live), "client", FinishReason.ABORT)
        _tick(engine, clock, said, live)
    for _ in range(_PATIENCE):
        if not live:
            break
        _tick(engine, clock, said, live)
    assert not live, f"{len(live)} requests never ended although nobody came any more"
    return said


def _tick(engine: EngineCore, clock: ManualClock, said: list[Any], live: set[str]) -> None:
    clock.advance(0.05)
    for out in engine.tick():
        said.append(out)
        if out.finish is not None:
            live.discard(out.request_id)
