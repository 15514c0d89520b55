"""Conversations and agents: turns with tools or thinking users in between, and a context that grows.

The agent profiles follow what Continuum (arXiv 2511.02230) names, SWE-Bench and BFCL: turns and context
growth are of their kind, the tools and their time distributions are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import Gamma, check_positive
from penstock.workload.driver import Driver
from penstock.workload.drivers.programs import Program, Programs, Step, within
from penstock.workload.generate import streams
from penstock.workload.registry import workload
from penstock.workload.request import Span
from penstock.workload.suites.common import drawn, seconds


class Tool(NamedTuple):
    """A tool of an agent."""

    name: str
    share: float
    """Of the turns."""
    mean: float
    """Seconds."""
    sigma: float
    """Deviation of the logarithm of its time."""
    result: str
    """Tokens that it returns, as a word of `penstock.workload.lengths`."""


SWE_TOOLS = (
    Tool("read", 0.40, 0.15, 0.6, "lognormal:900:0.9"),
    Tool("edit", 0.25, 0.25, 0.6, "lognormal:250:0.7"),
    Tool("search", 0.20, 0.50, 0.8, "lognormal:600:0.9"),
    Tool("test", 0.15, 5.00, 1.2, "lognormal:1200:0.9"),
)
"""Mean time 1 s with a heavy tail, as the sheet asks."""
BFCL_TOOLS = (
    Tool("lookup", 0.6, 0.10, 0.5, "lognormal:120:0.6"),
    Tool("api", 0.4, 0.40, 0.8, "lognormal:220:0.7"),
)


class Profile(NamedTuple):
    """What the programs of a workload are like."""

    turns: str
    opening: int
    """Tokens of the shared system prompt and tool list."""
    first: str
    """Tokens of the task."""
    output: str
    tools: tuple[Tool, ...]


SWE = Profile("uniform:20:40", 1500, "lognormal:500:0.5", "lognormal:180:0.7", SWE_TOOLS)
BFCL = Profile("uniform:3:8", 800, "lognormal:150:0.6", "lognormal:70:0.5", BFCL_TOOLS)


def agent_programs(
    profile: Profile,
    times: Iterator[float],
    seed: np.random.SeedSequence,
    shared: int,
    slow: float,
    context: int,
) -> Iterator[Program]:
    """Yield programs that arrive at ``times``.

    Args:
        profile: what they are like.
        times: arrivals; they end with them.
        seed: of everything drawn.
        shared: stream of the system prompt.
        slow: factor on tool times.
        context: longest context; a program ends with its last turn that fits.
    """
    seeds = iter(seed.spawn(4 + 2 * len(profile.tools)))
    turns = drawn(profile.turns, "workload.turns", next(seeds))
    first = drawn(profile.first, "workload.first", next(seeds))
    output = drawn(profile.output, "workload.output", next(seeds))
    chance = np.random.default_rng(next(seeds))
    times_of = [seconds(tool.mean * slow, tool.sigma, next(seeds)) for tool in profile.tools]
    results = [drawn(tool.result, "workload.tools", next(seeds)) for tool in profile.tools]
    edges = np.cumsum([tool.share for tool in profile.tools])
    for number, time in enumerate(times):
        count, fresh, steps = next(turns), next(first), []
        picks = np.searchsorted(edges[:-1], chance.random(count)).tolist()
        for turn, pick in enumerate(picks):
            last = turn + 1 == count
            name = None if last else profile.tools[pick].name
            steps.append(Step(fresh, next(output), 0.0 if last else next(times_of[pick]), name))
            fresh = next(results[pick])
        kept = within(iter(steps), profile.opening, context)
        kept[-1] = kept[-1]._replace(tool=None, pause=0.0)
        yield Program(id=f"agent{number}", arrival=time, steps=kept, opening=(Span(shared, profile.opening),))


def _agents(
    profile: Profile,
    seed: int,
    rate: float,
    cv: float,
    programs: int,
    at_once: int,
    tool_time: float,
    context: int,
) -> Driver:
    check_positive(programs=programs, context=context)
    if not at_once:
        check_positive(rate=rate)
    gaps, rest = np.random.SeedSequence(seed).spawn(2)
    numbers = streams()
    shared = next(numbers)
    times = Gamma(rate or 1.0, cv).times(np.random.default_rng(gaps))
    first = (time for time, _ in zip(times, range(programs), strict=False))
    made = agent_programs(profile, first, rest, shared, tool_time, context)
    return Programs(made, numbers, at_once)


@workload("agent-swe")
def swe(
    seed: int,
    *,
    rate: float = 0.1,
    cv: float = 1.0,
    programs: int = 100,
    at_once: int = 0,
    tool_time: float = 1.0,
    context: int = 32768,
) -> Driver:
    """Coding agents in the style of SWE-Bench: 20-40 turns, 2k to 30k tokens of context, tools of 1 s on
    average.

    ``at_once`` keeps so many programs under way (closed loop); otherwise they arrive at ``rate``.
    ``tool_time`` multiplies the tools' times.
    """
    return _agents(SWE, seed, rate, cv, programs, at_once, tool_time, context)


@workload("agent-bfcl")
def bfcl(
    seed: int,
    *,
    rate: float = 0.5,
    cv: float = 1.0,
    programs: int = 200,
    at_once: int = 0,
    tool_time: float = 1.0,
    context: int = 16384,
) -> Driver:
    """Function-calling agents in the style of BFCL: 3-8 short turns, quick tools."""
    return _agents(BFCL, seed, rate, cv, programs, at_once, tool_time, context)


@workload("chat")
def chat(
    seed: int,
    *,
    rate: float = 0.5,
    cv: float = 1.0,
    conversations: int = 200,
    turns: str = "uniform:1:10",
    prompt: str = "lognormal:80:1.0",
    output: str = "lognormal:220:0.7",
    pause: float = 15.0,
    system: int = 256,
    think: float = 0.0,
    keep_thoughts: bool = False,
    context: int = 32768,
) -> Driver:
    """Conversations of several turns with thinking users; each prompt quotes everything said before.

    ``think`` is the share of each answer that is hidden reasoning; the next turn leaves it out unless
    ``keep_thoughts``.
    """
    check_positive(rate=rate, conversations=conversations)
    if not think < 1:
        raise ConfigError("workload.think", f"expected a share below 1, got {think:g}")
    gaps, many, asks, answers, pauses = np.random.SeedSequence(seed).spawn(5)
    numbers = streams()
    opening = (Span(next(numbers), system),) if system else ()
    count = drawn(turns, "workload.turns", many)
    ask, answer = drawn(prompt, "workload.prompt", asks), drawn(output, "workload.output", answers)
    wait = seconds(pause, 0.8, pauses)

    def programs() -> Iterator[Program]:
        times = Gamma(rate, cv).times(np.random.default_rng(gaps))
        for number, time in zip(range(conversations), times, strict=False):
            steps = []
            for _ in range(next(count)):
                length = next(answer)
                steps.append(Step(next(ask), length, next(wait), None, int(length * think)))
            kept = within(iter(steps), system, context, not keep_thoughts)
            yield Program(id=f"chat{number}", arrival=time, steps=kept, opening=opening)

    return Programs(programs(), numbers, drop_thoughts=not keep_thoughts)
