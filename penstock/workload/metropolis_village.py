"""Villages to run agents in: recorded days of walkers between hotspots, and walkers whose every move depends
on what they see (for equality tests)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from penstock.workload.metropolis import Rules
from penstock.workload.metropolis_driver import Answer, Call, Move
from penstock.workload.metropolis_space import Graph, Grid, Seen, Town
from penstock.workload.request import Span

SMALLVILLE = (140, 100)
"""Tiles of Park et al.'s (UIST 2023) village; worlds for more agents are villages side by side."""
SMALLVILLE_AGENTS = 25
SMALLVILLE_RULES = Rules(radius=4, speed=1)


@dataclass(frozen=True)
class VillageSpec:
    """Habits of villagers. A step stands for ten seconds. Prompts mean 643 and answers 22 tokens, as
    Smallville's calls do; the chain of five calls is its choice of a next action (sector, arena, object...),
    and a whole conversation takes place within one step, as there."""

    agents: int = 25
    steps: int = 120
    hotspots: int = 8
    """Places that villagers of one village go to; the popular ones more often (Zipf)."""
    stay: float = 15.0
    """Mean steps at a place."""
    decide: int = 5
    """Calls in a row when a stay ends."""
    event: float = 0.15
    """Probability of one call in a step because something nearby changed (a stove, a door)."""
    notice: float = 0.5
    """Probability of one call when somebody comes into sight."""
    talk: float = 0.15
    """Probability that two who meet talk, and then ask 4 to 16 calls in a row."""
    template: int = 300
    """Prompt tokens that all calls of a kind share."""
    persona: int = 150
    """Prompt tokens that all calls of an agent share."""
    own: int = 193
    """Mean of the rest of a prompt."""
    answer: int = 22


@dataclass
class Village:
    """A recorded run: positions and calls of everybody, at every step."""

    spec: VillageSpec
    grid: Grid
    positions: list[list[tuple[int, int]]]
    """[steps + 1][agents]."""
    calls: list[dict[int, list[Call]]]
    """[steps], by agent."""
    met: list[list[list[int]]] = field(default_factory=list)
    """[steps][agents]: whom each had within its radius."""

    def town(self) -> Town:
        """Return a fresh store."""
        return Town(self.grid, self.positions[0], SMALLVILLE_RULES.coupling())


class Replay:
    """Everybody asks and does what they did in a recorded run."""

    perceives = False

    def __init__(self, village: Village) -> None:
        self._village = village

    def ask(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Call | None:
        """See `Behaviour`."""
        calls = self._village.calls[step].get(agent, ())
        return calls[len(answers)] if len(answers) < len(calls) else None

    def act(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Move:
        """See `Behaviour`."""
        return Move(self._village.positions[step + 1][agent])


class Wanderer:
    """Moves that hash everything an agent has perceived: one wrong observation changes all that follows.

    Args:
        space: a grid or a graph.
        seed: of the world.
        chatty: an agent asks its one call when ``hash % 4 < chatty``.
    """

    perceives = True

    def __init__(self, space: Grid | Graph, seed: int, chatty: int = 4) -> None:
        self._space = space
        self._seed = seed
        self._chatty = chatty
        self.here: list[Any] = []
        """Positions as the agents know them."""
        self.memory: list[int] = []

    def begin(self, positions: Sequence[Any]) -> None:
        """Put agents at their places."""
        self.here = list(positions)
        self.memory = [0] * len(positions)

    def ask(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Call | None:
        """See `Behaviour`."""
        if answers or _mix(self._seed, agent, step, 1) % 4 >= self._chatty:
            return None
        return Call((Span(1 + agent, 8), Span(10_000 + step, 4)), 4)

    def act(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Move:
        """See `Behaviour`."""
        view = [number for other in seen for number in (other[0], other[2])]
        places = [number for other in seen for number in _numbers(other[1])]
        digest = _mix(self._seed, agent, step, self.memory[agent], *view, *places)
        for answer in answers:
            digest = _mix(digest, *answer)
        self.memory[agent] = digest
        self.here[agent] = self._step(self.here[agent], digest)
        return Move(self.here[agent], digest)

    def _step(self, here: Any, digest: int) -> Any:
        if isinstance(self._space, Graph):
            choices = [here, *self._space.neighbours[here]]
            return choices[digest % len(choices)]
        return self._space.clip(here[0] + digest % 3 - 1, here[1] + digest // 3 % 3 - 1)


def _numbers(position: Any) -> tuple[int, ...]:
    return tuple(position) if isinstance(position, tuple) else (position,)


def _mix(*numbers: int) -> int:
    """Return a 61-bit hash that is the same on every machine."""
    digest = 0x9E3779B97F4A7C15
    for number in numbers:
        digest = (digest ^ number) * 0xBF58476D1CE4E5B9 % (1 << 64)
        digest ^= digest >> 29
    return digest >> 3


def record_village(spec: VillageSpec, seed: int) -> Village:
    """Let villagers go about their day, seed by seed the same, and record it."""
    return _Recorder(spec, np.random.default_rng([seed, 11])).run()


class _Recorder:
    def __init__(self, spec: VillageSpec, rng: np.random.Generator) -> None:
        self.spec, self.rng = spec, rng
        width, height = SMALLVILLE
        villages = -(-spec.agents // SMALLVILLE_AGENTS)
        self.grid = Grid(width * villages, height)
        spots = rng.integers((0, 0), (width, height), size=(villages, spec.hotspots, 2))
        spots[:, :, 0] += np.arange(villages)[:, None] * width
        self.spots = spots.tolist()
        weights = 1.0 / np.arange(1, spec.hotspots + 1)
        self.popularity = weights / weights.sum()
        self.village_of = [agent % villages for agent in range(spec.agents)]
        self.goal = [self.choose(agent) for agent in range(spec.agents)]
        # Half are where they want to be, half are on their way, as in the middle of a day.
        self.left = rng.geometric(1 / spec.stay, spec.agents).tolist()
        self.here = [self.goal[agent] if agent % 2 else self.choose(agent) for agent in range(spec.agents)]
        self.known: list[set[int]] = [set() for _ in range(spec.agents)]
        self.stream = 1_000_000

    def choose(self, agent: int) -> tuple[int, int]:
        """Return a tile near one of the hotspots of the agent's village."""
        spot = self.spots[self.village_of[agent]][self.rng.choice(self.spec.hotspots, p=self.popularity)]
        dx, dy = self.rng.integers(-6, 7, 2).tolist()
        return self.grid.clip(spot[0] + dx, spot[1] + dy)

    def call(self, agent: int, kind: int) -> Call:
        """Return a call of some kind (what its shared template is)."""
        spec, rng = self.spec, self.rng
        self.stream += 1
        own = max(8, round(float(rng.lognormal(np.log(spec.own) - 0.08, 0.4))))
        answer = max(1, round(float(rng.lognormal(np.log(spec.answer) - 0.18, 0.6))))
        prompt = (Span(1 + kind, spec.template), Span(100 + agent, spec.persona), Span(self.stream, own))
        return Call(prompt, min(answer, 256))

    def run(self) -> Village:
        """Record every step."""
        town = Town(self.grid, self.here, SMALLVILLE_RULES.coupling())
        village = Village(self.spec, self.grid, [list(self.here)], [])
        everybody = range(self.spec.agents)
        for _ in range(self.spec.steps):
            met = [town.within(agent, SMALLVILLE_RULES.radius) for agent in everybody]
            calls: dict[int, list[Call]] = {}
            talking: set[int] = set()
            for agent in everybody:
                asked = self.meet(agent, met[agent], talking) + self.live(agent, agent in talking)
                if asked:
                    calls[agent] = asked
                self.known[agent] = set(met[agent])
            for agent in everybody:
                town.write(agent, self.here[agent], 0)
            village.met.append(met)
            village.calls.append(calls)
            village.positions.append(list(self.here))
        return village

    def meet(self, agent: int, near: list[int], talking: set[int]) -> list[Call]:
        """Return the calls that newcomers in sight cause; who talks stays where it is."""
        asked: list[Call] = []
        for other in near:
            if other in self.known[agent]:
                continue
            if self.rng.random() < self.spec.notice:
                asked.append(self.call(agent, 0))
            if agent < other and not talking & {agent, other} and self.rng.random() < self.spec.talk:
                talking |= {agent, other}
                asked += [self.call(agent, 1) for _ in range(int(self.rng.integers(4, 17)))]
        return asked

    def live(self, agent: int, talks: bool) -> list[Call]:
        """Walk, stay, or decide where to go next, which takes calls."""
        if talks:
            return []
        asked = [self.call(agent, 0)] if self.rng.random() < self.spec.event else []
        here, goal = self.here[agent], self.goal[agent]
        if here != goal:
            dx, dy = (int(np.sign(goal[axis] - here[axis])) for axis in (0, 1))
            self.here[agent] = (here[0] + dx, here[1] + dy)
            return asked
        self.left[agent] -= 1
        if self.left[agent] > 0:
            return asked
        self.left[agent] = int(self.rng.geometric(1 / self.spec.stay))
        if self.rng.random() < 0.5:
            self.goal[agent] = self.choose(agent)
        return asked + [self.call(agent, 2 + k) for k in range(self.spec.decide)]
