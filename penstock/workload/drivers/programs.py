"""Programs: conversations and agents, whose next prompt quotes all that was said before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.request import Turn
from penstock.workload.driver import Served, World
from penstock.workload.generate import Streams
from penstock.workload.request import Span, TraceRequest


class Step(NamedTuple):
    """One turn of a program."""

    fresh: int
    """New prompt tokens: what the user said or the tool returned; >= 1."""
    output: int
    pause: float = 0.0
    """Seconds from its answer to the next turn's arrival: a tool's run or a user's thought."""
    tool: str | None = None
    """Tool that runs in between."""
    think: int = 0
    """Leading output tokens that no user sees."""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """What one agent or conversation will do."""

    id: str
    arrival: float
    steps: Sequence[Step]
    opening: tuple[Span, ...] = ()
    """System prompt and tools, shared with others by their streams."""
    tenant: str = "default"
    weight: float = 1.0
    priority: int = 0


class _Run:
    """A program under way."""

    __slots__ = ("at", "program", "prompt", "said", "stream")

    def __init__(self, program: Program, stream: int) -> None:
        self.program, self.stream = program, stream
        self.prompt: tuple[Span, ...] = program.opening
        self.at = self.said = 0


class Programs:
    """Runs programs; a program whose request fails ends there.

    Args:
        programs: in order of arrival; may be a generator of any length.
        numbers: of token streams.
        at_once: 0: programs begin at their arrivals (open loop); otherwise so many are kept under way, and
        their
            arrivals are not looked at (closed loop).
        drop_thoughts: the next prompt quotes only what the user saw, as reasoning models' templates do.
    """

    def __init__(
        self, programs: Iterator[Program], numbers: Streams, at_once: int = 0, drop_thoughts: bool = True
    ) -> None:
        self._programs, self._numbers = programs, numbers
        self._at_once, self._drop_thoughts = at_once, drop_thoughts
        self._runs: dict[str, _Run] = {}
        self.completed = self.failed = 0

    def begin(self, world: World) -> None:
        """Send the first turns."""
        for _ in range(self._at_once or 1):
            self._next(world)

    def _next(self, world: World) -> None:
        program = next(self._programs, None)
        if program is None:
            return
        run = _Run(program, next(self._numbers))
        if self._at_once:
            self._send(run, world, world.now())
            return
        self._send(run, world, program.arrival)
        world.at(max(program.arrival, world.now()), lambda: self._next(world))

    def _send(self, run: _Run, world: World, when: float) -> None:
        program, step = run.program, run.program.steps[run.at]
        run.prompt = (*run.prompt, Span(run.stream, step.fresh, run.said))
        run.said += step.fresh
        request = TraceRequest(
            id=f"{program.id}.{run.at}",
            arrival=when,
            prompt=run.prompt,
            output_tokens=step.output,
            output_stream=next(self._numbers),
            think_tokens=step.think,
            tenant=program.tenant,
            weight=program.weight,
            priority=program.priority,
            program=program.id,
            turn=Turn(index=run.at, last=run.at + 1 == len(program.steps), tool=step.tool),
        )
        self._runs[request.id] = run
        world.submit(request)

    def served(self, result: Served, world: World) -> None:
        """Let the tool run or the user think, then send the next turn; or begin another program."""
        run = self._runs.pop(result.request.id)
        step = run.program.steps[run.at]
        run.at += 1
        if result.ok and run.at < len(run.program.steps):
            skipped = step.think if self._drop_thoughts else 0
            if step.output > skipped:
                quoted = Span(result.request.output_stream, step.output - skipped, skipped)
                run.prompt = (*run.prompt, quoted)
            self._send(run, world, world.now() + step.pause)
            return
        self.completed += result.ok
        self.failed += not result.ok
        if self._at_once:
            self._next(world)


def within(steps: Iterator[Step], opening: int, longest: int, drop_thoughts: bool = True) -> list[Step]:
    """Return the steps that fit a context of ``longest`` tokens; at least one, its output cut if it must
    be."""
    kept: list[Step] = []
    prompt = opening
    for step in steps:
        prompt += step.fresh
        if prompt + step.output > longest:
            break
        kept.append(step)
        prompt += step.output - (step.think if drop_thoughts else 0)
    if not kept:
        raise ConfigError("workload.context", f"{longest} tokens do not hold the first turn")
    return kept
