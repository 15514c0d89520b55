"""Small hostile worlds that any stack of policies must come through with its books in order."""

from __future__ import annotations

import random
from collections import Counter

import msgspec

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import Overloaded
from penstock.core.output import FinishReason, Output
from penstock.core.plan import PlanShape
from penstock.core.policy import Policies
from penstock.core.request import SLO, RequestSpec, Turn
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore
from penstock.policies.bundle import build_policies
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor, next_token
from penstock.testing.invariants import check_books, check_empty

VOCABULARY = 4
EOS = 3
PAGE = 4
BUDGET = 10
QUEUE = 16
"""Newcomers are held back while so many wait: no stack is asked to keep up with an endless queue."""
WAIT_PER_TOKEN = 4
"""The wait that is declared finite: once nobody comes any more, all end within so many ticks a token due."""


class World(msgspec.Struct, frozen=True):
    """What comes from outside, tick by tick, and on what machine. It does not depend on the policies."""

    arrivals: tuple[tuple[RequestSpec, ...], ...]
    cancels: tuple[tuple[str, ...], ...]
    answers: dict[str, list[int]]
    """What each request must be answered with if it is let finish."""
    blocks: int
    slots: int
    depth: int
    caching: bool
    prefix_wait: bool
    priced: bool
    """Whether policies are told step times."""


class Soak(msgspec.Struct):
    """What a stack made of a world."""

    steps: int = 0
    ticks: int = 0
    preemptions: int = 0
    refused: int = 0
    wait: float = 0.0
    """Ticks to the last end after the last arrival, per token that was due then."""
    outputs: dict[str, list[int]] = {}
    """Of those that ended by themselves."""


class _Price:
    """A step has a fixed price and one per row."""

    def step(self, shape: PlanShape) -> float:
        return 0.01 + 0.002 * shape.tokens


def answer(prompt: list[int], most: int, stops: bool) -> list[int]:
    """Return what the fake model makes of a prompt."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + most:
        tokens.append(next_token(tokens, VOCABULARY))
        if stops and tokens[-1] == EOS:
            break
    return tokens[len(prompt) :]


def make_world(seed: int, ticks: int, caching: bool | None = None) -> World:
    """Draw a world.

    Args:
        seed: of everything in it.
        ticks: how long requests come.
        caching: whether there is a prefix cache; None draws that too.
    """
    rng = random.Random(seed)
    blocks = rng.randrange(9, 19)
    drawn = rng.random() < 0.75
    caching = drawn if caching is None else caching
    answers: dict[str, list[int]] = {}
    history: dict[str, list[int]] = {}
    arrivals, cancels = [], []
    known: list[str] = []
    for _ in range(ticks):
        count = rng.choice((2, 3, 5)) if rng.random() < 0.03 else rng.random() < 0.35
        here = []
        for _ in range(count):
            one = _request(rng, f"r{len(known)}", history, blocks * PAGE)
            prompt, most = list(one.prompt_ids), one.sampling.max_tokens
            answers[one.id] = answer(prompt, most, bool(one.eos_ids))
            if one.program is not None:
                history[one.program] = prompt + answers[one.id]
            here.append(one)
            known.append(one.id)
        arrivals.append(tuple(here))
        cancels.append((rng.choice(known[-12:]),) if known and rng.random() < 0.06 else ())
    return World(
        tuple(arrivals),
        tuple(cancels),
        answers,
        blocks,
        slots=rng.randrange(3, 9),
        depth=rng.randrange(2),
        caching=caching,
        prefix_wait=rng.random() < 0.5,
        priced=rng.random() < 0.5,
    )


def _request(rng: random.Random, name: str, history: dict[str, list[int]], room: int) -> RequestSpec:
    program = rng.choice((None, None, "p", "q", "s"))
    group = rng.choice((None, None, "g", "h"))
    prompt = [rng.randrange(2) for _ in range(rng.randrange(1, 10))]
    if program is not None and rng.random() < 0.5:
        prompt = [*history.get(program, []), *prompt]
    elif group is not None and rng.random() < 0.7:
        prompt = [1, 0, 0, 1, 1, 0, 1, len(group), *prompt]
    most = rng.choice((2, 6, 12, 24))
    if len(prompt) + most > room - PAGE:
        prompt = prompt[: max(1, (room - PAGE - most) // 2)]
    slo = SLO(
        ttft=rng.choice((None, 0.2, 2.0)), tpot=rng.choice((None, 0.06)), deadline=rng.choice((None, 3.0))
    )
    return make_request(
        name,
        prompt,
        max_tokens=most,
        eos_ids=(EOS,) if rng.random() < 0.3 else (),
        tenant=rng.choice("aaabc"),
        weight=rng.choice((1.0, 1.0, 2.0)),
        priority=rng.choice((-1, 0, 0, 0, 1)),
        slo=slo if rng.random() < 0.5 else None,
        program=program,
        turn=Turn(index=1, last=rng.random() < 0.2, tool=rng.choice((None, "t", "u"))),
        length_score=rng.choice((None, float(most))),
        group=group,
        group_tokens=min(8, len(prompt)) if group else 0,
    )


class Player:
    """A stack in a world: plays it and holds it to what every stack owes.

    Args:
        schedule: the stack.
        world: the world.
        check_every: ticks between two looks at the books.

    Raises:
        ConfigError: the stack is refused.
    """

    def __init__(self, schedule: ScheduleConfig, world: World, check_every: int = 1) -> None:
        self._world, self._every = world, check_every
        spec = make_spec(
            blocks=world.blocks,
            slots=world.slots,
            page_size=PAGE,
            max_model_len=world.blocks * PAGE,
            vocab_size=VOCABULARY,
            layers=5,
        )
        self._clock = ManualClock()
        policies = self._policies(schedule)
        self.state = SchedulerState(
            spec,
            policies,
            max_seqs=world.slots,
            max_tokens=BUDGET,
            prefix_caching=world.caching,
            prefix_wait=world.prefix_wait,
            cost=_Price() if world.priced else None,
        )
        executor = FakeExecutor(spec, clock=self._clock, seconds=lambda plan: 0.05)
        self.engine = EngineCore(Scheduler(self.state), executor, self._clock, world.depth)
        self.live: dict[str, RequestSpec] = {}
        self.soak = Soak(outputs={})
        self._got: dict[str, list[int]] = {}
        self._ended: Counter[str] = Counter()
        self._delivered = 0

    def _policies(self, schedule: ScheduleConfig) -> Policies:
        return build_policies(schedule, CacheConfig(enable_prefix_caching=self._world.caching))

    def play(self) -> Soak:
        """Play the world to its end.

        Raises:
            AssertionError: with what was broken.
        """
        for arrivals, cancels in zip(self._world.arrivals, self._world.cancels, strict=True):
            for request in arrivals:
                self.submit(request)
            for name in cancels:
                assert self.engine.cancel(name) == (name in self.live), "cancelled twice, or not at all"
            self.tick()
        due = sum(len(one.prompt_ids) + one.sampling.max_tokens for one in self.live.values())
        begun, bound = self.soak.ticks, WAIT_PER_TOKEN * due + 20
        while self.engine.has_work():
            assert self.soak.ticks - begun <= bound, f"somebody starved: {sorted(self.live)}"
            self.tick()
        self.soak.wait = (self.soak.ticks - begun) / max(due, 1)
        self._check_end()
        return self.soak

    def submit(self, request: RequestSpec, queue: int = QUEUE) -> None:
        """Send a request, unless so many wait already."""
        if len(self.state.waiting) >= queue:
            return
        try:
            self.engine.submit(request)
        except Overloaded:
            self.soak.refused += 1
            return
        self.live[request.id] = request
        self._got[request.id] = []

    def tick(self) -> None:
        """Run a step and check what it did."""
        self._clock.advance(0.002)
        self.soak.ticks += 1
        for out in self.engine.tick():
            self._take(out)
        if self.soak.ticks % self._every == 0:
            check_books(self.state)

    def _take(self, out: Output) -> None:
        name = out.request_id
        assert not self._ended[name], "news after the terminal event"
        got = self._got[name]
        got.extend(out.tokens)
        self._delivered += len(out.tokens)
        right = self._world.answers.get(name)
        assert right is None or got == right[: len(got)], f"{name} is answered with wrong tokens"
        if out.finish is None:
            return
        self._ended[name] += 1
        del self.live[name]
        if out.finish.reason in (FinishReason.STOP, FinishReason.LENGTH):
            assert right is None or got == right, f"{name} ended early"
            self.soak.outputs[name] = got
        else:
            assert out.finish.reason is FinishReason.ABORT, f"{name} ended with {out.finish}"

    def _check_end(self) -> None:
        counters = self.state.counters
        self.soak.steps, self.soak.preemptions = counters.steps, counters.preemptions
        assert not self.live and set(self._ended) == set(self._got), "a request has no terminal event"
        assert all(count == 1 for count in self._ended.values())
        assert counters.generated_tokens == self._delivered, "tokens generated and not delivered"
        assert counters.submitted == len(self._got) == sum(counters.finished.values())
        check_empty(self.state)


def wait_of_unloved(schedule: ScheduleConfig, tenant: str, patience: int) -> int:
    """Send one request that nobody's order likes and favourites for ever; return the ticks until it ended.

    Args:
        schedule: the stack.
        tenant: whose it is; the favourites are those of ``busy``.
        patience: ticks after which to give up; the answer is then one more.

    Raises:
        AssertionError: the books were broken.
    """
    nothing = World((), (), {}, blocks=16, slots=3, depth=1, caching=True, prefix_wait=False, priced=True)
    player = Player(schedule, nothing, patience + 1)
    odd = [2, 0, 2, 1, 2, 2, 0, 0, 1, 2, 1, 2]
    unloved = make_request("unloved", odd, max_tokens=10, tenant=tenant, length_score=99.0)
    for tick in range(-QUEUE, patience):
        if tick == 0:
            player.submit(unloved, queue=QUEUE + 1)
        elif tick > 0 and "unloved" not in player.live:
            return tick
        for copy in range(2):
            loved = make_request(
                f"n{tick}-{copy}",
                [1, 0, 0, 1, 1, 0, 1, 1, tick % 2],
                max_tokens=3,
                tenant="busy",
                slo=SLO(ttft=0.1, deadline=0.5),
                length_score=3.0,
                group="g",
                group_tokens=8,
            )
            player.submit(loved)
        player.tick()
    return patience + 1
