"""Open-loop generators: requests of one client, lazily, and several clients merged by time."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

import msgspec
import numpy as np

from penstock.core.request import SLO
from penstock.workload.arrivals import Arrivals
from penstock.workload.lengths import Pairs
from penstock.workload.request import Span, TraceRequest

Streams = Iterator[int]
"""Numbers of token streams, each given out once per workload (`streams`)."""
Thinking = Callable[[int], int]
"""Thinking tokens of an output of so many tokens."""
_PROBE = 4096


def streams() -> Streams:
    """Return a fresh numbering."""
    return itertools.count(1)


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant that sends requests on its own clock."""

    arrivals: Arrivals
    pairs: Pairs
    tenant: str = "default"
    weight: float = 1.0
    priority: int = 0
    count: int = 0
    """Requests; 0: no limit but the time."""
    begin: float = 0.0
    """Seconds before its first request is due."""
    duration: float = math.inf
    """It sends nothing that is due later than this after `begin`."""
    prefixes: int = 0
    """Prompts begin with one of so many shared texts, chosen evenly; 0: none."""
    prefix_tokens: int = 0
    """Length of such a text; it comes on top of the prompt's own length."""
    thinking: Thinking | None = None
    slo: SLO | None = None
    tau: float = 0.0
    """Kendall's tau between `TraceRequest.length_score` and the true output length: 1 is an oracle, 0 gives
    none."""


def requests(
    client: Client, seed: np.random.SeedSequence, numbers: Streams, name: str = "r"
) -> Iterator[TraceRequest]:
    """Yield a client's requests in order of arrival.

    Arrivals, lengths, prefixes and scores draw from streams of chance of their own, so that turning one
    knob does not stir the others.

    Args:
        client: who sends what.
        seed: of everything drawn.
        numbers: of token streams, shared by the whole workload.
        name: prefix of the ids.
    """
    gaps, lengths, choices, scores = seed.spawn(4)
    times = client.arrivals.times(np.random.default_rng(gaps))
    texts = [next(numbers) for _ in range(client.prefixes)]
    chosen = _integers(np.random.default_rng(choices), max(1, client.prefixes))
    score = scorer(client.pairs, client.tau, scores) if client.tau else None
    fixed = {"tenant": client.tenant, "weight": client.weight, "priority": client.priority, "slo": client.slo}
    thinking, begin = client.thinking, client.begin
    for number, (time, (prompt, output)) in enumerate(zip(times, client.pairs.draws(lengths), strict=False)):
        if time > client.duration or (client.count and number == client.count):
            return
        spans: tuple[Span, ...] = (Span(next(numbers), prompt),)
        if texts:
            spans = (Span(texts[next(chosen)], client.prefix_tokens), *spans)
        yield TraceRequest(
            id=f"{name}{number}",
            arrival=begin + time,
            prompt=spans,
            output_tokens=output,
            think_tokens=thinking(output) if thinking is not None else 0,
            length_score=score(output) if score is not None else None,
            **fixed,  # type: ignore[arg-type]
        )


def mix(clients: Iterable[Client], seed: int, numbers: Streams | None = None) -> Iterator[TraceRequest]:
    """Yield the requests of several clients by arrival; adding a client leaves the others' as they were."""
    numbers = numbers if numbers is not None else streams()
    many = list(clients)
    children = np.random.SeedSequence(seed).spawn(len(many))
    sources = [
        requests(client, child, numbers, f"{client.tenant}-" if len(many) > 1 else "r")
        for client, child in zip(many, children, strict=True)
    ]
    return sources[0] if len(sources) == 1 else merged(sources)


def merged(sources: Iterable[Iterator[TraceRequest]]) -> Iterator[TraceRequest]:
    """Yield the requests of several ordered sources by arrival."""
    return heapq.merge(*sources, key=attrgetter("arrival"))


def scorer(pairs: Pairs, tau: float, seed: np.random.SeedSequence) -> Callable[[int], float]:
    """Return a noisy predictor of output lengths whose order agrees with the truth to Kendall's ``tau``.

    The score is the log length plus Gaussian noise. For a bivariate normal tau = 2/pi asin(correlation),
    which gives the noise; it is exact for lognormal lengths and close for others.
    """
    probe, noise = seed.spawn(2)
    logs = np.log([output for _, output in itertools.islice(pairs.draws(probe), _PROBE)])
    correlation = math.sin(math.pi * min(tau, 1.0) / 2)
    deviation = float(logs.std()) * math.sqrt(max(1 / correlation**2 - 1, 0.0))
    drawn = _normals(np.random.default_rng(noise))
    return lambda output: math.log(output) + deviation * next(drawn)


def _normals(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.standard_normal(_PROBE).tolist()


def _integers(rng: np.random.Generator, high: int) -> Iterator[int]:
    while True:
        yield from rng.integers(0, high, _PROBE).tolist()
