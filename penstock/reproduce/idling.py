"""How long sequences idle under a guarded order, beside the bound that the guard gives."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from penstock.config.settings import ScheduleConfig
from penstock.core.policy import OrderPolicy, SequenceView
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore
from penstock.policies.bundle import build_policies
from penstock.policies.order.ltr import LearnedRank
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor


class Audit(LearnedRank):
    """Notes when it promotes whom."""

    def __init__(self, patience: int, period: int, displace: str) -> None:
        super().__init__(patience, period, displace)
        self.promotions: list[tuple[int, int]] = []
        """(step, sequence number) of each promotion."""

    def promoted(self, seq: SequenceView) -> bool:
        """See `LearnedRank.promoted`."""
        before = seq.number in self._owed
        now = super().promoted(seq)
        if now and not before:
            self.promotions.append((self.steps(), seq.number))
        return now


class Load(msgspec.Struct, frozen=True):
    """A random overload: few slots, room for everything else."""

    slots: int
    patience: int
    period: int
    arrivals: tuple[tuple[int, int, int, float], ...]
    """(step, prompt, output, score), by step."""


def draw(seed: int) -> Load:
    """Draw a load of which some must wait long."""
    rng = random.Random(seed)
    slots = rng.randint(1, 4)
    count = rng.randint(10, 40)
    lengths = [rng.choice([1, 2, 5, 20, 40]) for _ in range(count)]
    spread = rng.choice([0, 10, 100])
    arrivals = sorted(
        (rng.randint(0, spread), rng.randint(1, 8), n, n * rng.lognormvariate(0, 0.7)) for n in lengths
    )
    return Load(slots, rng.randint(3, 25), rng.randint(1, 6), tuple(arrivals))


class Idling(msgspec.Struct):
    """The idle stretches of a run."""

    longest: int = 0
    excess: int = -(1 << 30)
    """Most steps by which a stretch exceeded its bound."""


def measure(load: Load, make: Callable[[Load], OrderPolicy]) -> Idling:
    """Run a load to its end and compare every idle stretch with its bound.

    A sequence that is promoted at step t and runs next at u had before it, at every step in between, as
    many promoted ones as there are slots. Each promotion is worth P steps, so with n - 1 others promoted at
    t or meanwhile ``u - t <= P * ceil(n / slots)``, and it idled at most S steps before t.
    """
    spec = make_spec(slots=load.slots, blocks=4096, page_size=4, max_model_len=64)
    order = make(load)
    schedule = ScheduleConfig(admit="unlimited", reserve="known(0)", preempt="newest")
    policies = msgspec.structs.replace(build_policies(schedule), order=order)
    clock = ManualClock()
    state = SchedulerState(spec, policies, max_seqs=load.slots, max_tokens=4096)
    engine = EngineCore(Scheduler(state), FakeExecutor(spec, clock=clock), clock)
    last: dict[int, int] = {}
    stretches: list[tuple[int, int, int]] = []
    pending, step = list(load.arrivals), 0
    while pending or engine.has_work():
        while pending and pending[0][0] <= step:
            _, prompt, output, score = pending.pop(0)
            name = f"r{len(load.arrivals) - len(pending)}"
            request = make_request(name, prompt, max_tokens=output, length_score=score, ignore_eos=True)
            engine.submit(request)
            last[state.sequences[name].number] = state.counters.steps
        step += 1
        if engine.fill() is not None:
            for seq, _ in state.in_flight[0][1]:
                now = state.counters.steps
                stretches.append((seq.number, last[seq.number], now))
                last[seq.number] = now
        engine.land()
    return _judge(load, order, stretches)


def _judge(load: Load, order: OrderPolicy, stretches: list[tuple[int, int, int]]) -> Idling:
    """Every stretch is (number, step that it ran before, step that it ran next), counted from 1."""
    promotions = order.promotions if isinstance(order, Audit) else []
    owed: list[tuple[int, int, int]] = []
    for at, number in promotions:
        runs = [s[2] for s in stretches if s[0] == number and s[2] > at][: load.period]
        owed.append((at, runs[-1] if runs else at, number))
    found = Idling()
    for number, before, after in stretches:
        idle = after - before - 1
        found.longest = max(found.longest, idle)
        since = before + load.patience
        ahead = sum(1 for at, until, who in owed if who != number and at < after and until > since)
        bound = load.patience + load.period * -(-(ahead + 1) // load.slots)
        found.excess = max(found.excess, idle - bound)
    return found
