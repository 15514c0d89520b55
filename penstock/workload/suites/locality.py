"""The suites of DLPM (arXiv 2501.14312): clients that share prefixes, one of them greedy; and plain shared
prefixes.

Lengths are the paper's means. Requests arrive in Gamma processes of coefficient of variation ``cv``; ``rate``
counts trees, articles, documents or conversations per second over all clients. The misbehaving client's
excess is the paper's where it gives one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from penstock.workload.arrivals import Gamma, check_positive
from penstock.workload.driver import Driver, OpenLoop
from penstock.workload.drivers.programs import Program, Programs, Step
from penstock.workload.drivers.trees import Tree, Trees
from penstock.workload.generate import Streams, streams
from penstock.workload.registry import workload
from penstock.workload.request import Span, TraceRequest
from penstock.workload.suites.basic import OPEN, open_loop
from penstock.workload.suites.common import drawn, seconds

T = TypeVar("T")
Source = Callable[[int, Iterator[float], np.random.SeedSequence], Iterator[T]]


def _clients(
    make: Source[T], seed: int, clients: int, rate: float, cv: float, duration: float, greed: float = 1.0
) -> Iterator[T]:
    """Yield what ``make(client, arrivals, seed)`` yields per client, by arrival; client 0 arrives ``greed``
    as often."""
    check_positive(clients=clients, rate=rate, duration=duration)
    sources = []
    for client, child in enumerate(np.random.SeedSequence(seed).spawn(clients)):
        gaps, rest = child.spawn(2)
        own = rate / clients * (greed if client == 0 else 1.0)
        times = Gamma(own, cv).times(np.random.default_rng(gaps))
        sources.append(make(client, _until(times, duration), rest))
    return heapq.merge(*sources, key=attrgetter("arrival"))


def _until(times: Iterator[float], duration: float) -> Iterator[float]:
    for time in times:
        if time > duration:
            return
        yield time


@workload("dlpm-tot")
def tot(
    seed: int,
    *,
    clients: int = 8,
    rate: float = 0.4,
    cv: float = 2.0,
    duration: float = 300.0,
    branches: int = 2,
    greedy_branches: int = 4,
    depth: int = 4,
    output: int = 256,
    quote: int = 90,
) -> Driver:
    """DLPM: Tree-of-Thoughts clients of 30 requests a tree, the first one of 340; prompts ~546, answers 256.

    The instructions (240 tokens, shared within a client), the question (60) and how much of a thought is
    quoted are ours, chosen so that prompts have the paper's mean.
    """
    numbers = streams()

    def make(client: int, times: Iterator[float], child: np.random.SeedSequence) -> Iterator[Tree]:
        instructions = Span(next(numbers), 240)
        for number, time in enumerate(times):
            yield Tree(
                id=f"client{client}-t{number}",
                arrival=time,
                root=(instructions, Span(next(numbers), 60)),
                branches=branches if client else greedy_branches,
                depth=depth,
                output=output,
                quote=quote,
                tenant=f"client{client}",
            )

    return Trees(_clients(make, seed, clients, rate, cv, duration), numbers)


def _documents(
    numbers: Streams, document: tuple[int, int], own: int, output: int, each: tuple[int, int]
) -> Source[TraceRequest]:
    """Return a source of requests that share a document; of each pair the first number is client 0's."""

    def make(client: int, times: Iterator[float], child: np.random.SeedSequence) -> Iterator[TraceRequest]:
        place = 0 if client == 0 else 1
        for number, time in enumerate(times):
            shared = Span(next(numbers), document[place])
            for part in range(each[place]):
                yield TraceRequest(
                    id=f"client{client}-d{number}.{part}",
                    arrival=time,
                    prompt=(shared, Span(next(numbers), own)),
                    output_tokens=output,
                    tenant=f"client{client}",
                    group=f"client{client}-d{number}",
                )

    return make


@workload("dlpm-judge")
def judge(
    seed: int,
    *,
    clients: int = 8,
    rate: float = 1.0,
    cv: float = 2.0,
    duration: float = 300.0,
    dimensions: int = 2,
    greedy_dimensions: int = 16,
) -> Driver:
    """DLPM: articles judged in 2 dimensions, those of the first client in 16; prompts 2701, answers 256."""
    numbers = streams()
    make = _documents(numbers, (2601, 2601), 100, 256, (greedy_dimensions, dimensions))
    return OpenLoop(_clients(make, seed, clients, rate, cv, duration))


@workload("dlpm-qa")
def qa(
    seed: int,
    *,
    clients: int = 8,
    rate: float = 0.4,
    cv: float = 2.0,
    duration: float = 300.0,
    questions: int = 4,
    longer: int = 1,
    greed: float = 4.0,
) -> Driver:
    """DLPM: questions about long documents (LooGLE): prompts 21449, answers 15; the first client asks more
    often.

    ``longer=10`` is the paper's second scenario, in which the greedy client's documents are ten times as
    long.
    """
    numbers = streams()
    make = _documents(numbers, (21400 * longer, 21400), 49, 15, (questions, questions))
    return OpenLoop(_clients(make, seed, clients, rate, cv, duration, greed))


@workload("dlpm-arena")
def arena(
    seed: int,
    *,
    clients: int = 8,
    rate: float = 2.0,
    cv: float = 2.0,
    duration: float = 300.0,
    turns: str = "uniform:2:6",
    pause: float = 10.0,
    greed: float = 10.0,
) -> Driver:
    """DLPM: multi-turn chats, 56 tokens asked and 142 answered a turn; the first client opens ten times as
    many."""
    numbers = streams()
    system = Span(next(numbers), 64)

    def make(client: int, times: Iterator[float], child: np.random.SeedSequence) -> Iterator[Program]:
        many, asks, answers, pauses = child.spawn(4)
        count = drawn(turns, "workload.turns", many)
        ask, answer = drawn("lognormal:56:0.6", "", asks), drawn("lognormal:142:0.6", "", answers)
        wait = seconds(pause, 0.8, pauses)
        for number, time in enumerate(times):
            steps = [Step(next(ask), next(answer), next(wait)) for _ in range(next(count))]
            name = f"client{client}-c{number}"
            yield Program(id=name, arrival=time, steps=steps, opening=(system,), tenant=f"client{client}")

    return Programs(_clients(make, seed, clients, rate, cv, duration, greed), numbers)


@workload("shared-prefix", **{key: value for key, value in OPEN.items() if key not in ("prefixes", "prefix")})
def shared_prefix(
    seed: int, *, rate: float = 2.0, cv: float = 1.0, prefixes: int = 16, prefix: int = 1024, **values: Any
) -> Driver:
    """Prompts begin with one of a few shared texts, evenly chosen."""
    check_positive(rate=rate)
    return open_loop(Gamma(rate, cv), seed, values | {"prefixes": prefixes, "prefix": prefix})
