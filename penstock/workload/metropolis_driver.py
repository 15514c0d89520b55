"""Agents of a simulated world as a driver: what they perceive, ask a model, and do, in any order of steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from penstock.workload.driver import Served, World
from penstock.workload.metropolis import Group, Rules, Write
from penstock.workload.metropolis_space import Seen, Town
from penstock.workload.request import Span, TraceRequest

Answer = tuple[int, ...]
"""Generated token ids; empty where the world does not tell."""


class Call(NamedTuple):
    """One request to the model."""

    prompt: tuple[Span, ...]
    output_tokens: int


class Move(NamedTuple):
    """What an agent does at the end of a step."""

    position: Any
    mood: int = 0


class Behaviour(Protocol):
    """What agents ask and do; it must follow from the arguments alone, or runs cannot be compared."""

    perceives: bool
    """Whether observations are needed (a replay does without)."""

    def ask(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Call | None:
        """Return the next call of an agent's step, given the answers so far; None when there is none left."""
        ...

    def act(self, agent: int, step: int, seen: tuple[Seen, ...], answers: Sequence[Answer]) -> Move:
        """Return the agent's move."""
        ...


class Gate(Protocol):
    """Who may take a step: `LockStep`, `SingleThread`, `OutOfOrder` or `Oracle`."""

    @property
    def steps(self) -> list[int]:
        """Steps that each agent has finished."""

    def start(self) -> list[Group]:
        """Return who begins."""
        ...

    def finished(self, group: Group, write: Write) -> list[Group]:
        """Take the end of a group's step in, write moves when it is time, and return who may go now."""
        ...


class _Turn:
    """One agent's step under way."""

    __slots__ = ("agent", "answers", "group", "seen", "step")

    def __init__(self, agent: int, step: int, group: _Team, seen: tuple[Seen, ...]) -> None:
        self.agent, self.step, self.group, self.seen = agent, step, group, seen
        self.answers: list[Answer] = []


class _Team:
    """A group under way."""

    __slots__ = ("members", "open")

    def __init__(self, members: Group) -> None:
        self.members = members
        self.open = len(members)


class AgentSimulation:
    """Implements `penstock.workload.driver.Driver`.

    Each request has its agent's step as priority (``order: priority`` then serves who is farthest behind
    first), one program per agent, and one tenant for all.

    Args:
        town: the store.
        behaviour: of all agents.
        gate: the order of steps.
        rules: distances; the radius is how far agents perceive.
        tenant: of all requests.
        keep: record what everybody saw and did, as `trace`.
        prioritise: put the step into the priority.
    """

    def __init__(
        self,
        town: Town,
        behaviour: Behaviour,
        gate: Gate,
        rules: Rules,
        *,
        tenant: str = "agents",
        keep: bool = False,
        prioritise: bool = True,
    ) -> None:
        self.town = town
        self.gate = gate
        self.calls = 0
        self.failed = 0
        """Requests that did not end by themselves; their answers are taken as empty."""
        self.trace: dict[tuple[int, int], tuple[tuple[Seen, ...], Move]] = {}
        """By (agent, step): what it saw, and what it did."""
        self._behaviour = behaviour
        self._rules = rules
        self._tenant = tenant
        self._keep = keep
        self._prioritise = prioritise
        self._moves: dict[int, Move] = {}
        self._turns: dict[str, _Turn] = {}

    def begin(self, world: World) -> None:
        """Let everybody begin who may."""
        self._go(self.gate.start(), world)

    def served(self, result: Served, world: World) -> None:
        """Give an answer to its agent, which asks on, or acts."""
        turn = self._turns.pop(result.request.id)
        self.failed += not result.ok
        turn.answers.append(result.tokens)
        if not self._ask(turn, world):
            self._go(self._acted(turn), world)

    def _go(self, groups: Iterable[Group], world: World) -> None:
        """Launch groups, and whatever their steps set free, without recursion: many steps ask nothing."""
        ready = deque(groups)
        while ready:
            members = ready.popleft()
            team = _Team(members)
            radius = self._rules.radius
            turns = [
                _Turn(agent, self.gate.steps[agent], team, self.town.observe(agent, radius))
                if self._behaviour.perceives
                else _Turn(agent, self.gate.steps[agent], team, ())
                for agent in members
            ]
            for turn in turns:
                if not self._ask(turn, world):
                    ready.extend(self._acted(turn))

    def _ask(self, turn: _Turn, world: World) -> bool:
        """Send the turn's next call; False if there is none."""
        call = self._behaviour.ask(turn.agent, turn.step, turn.seen, turn.answers)
        if call is None:
            return False
        self.calls += 1
        request = TraceRequest(
            id=f"a{turn.agent}s{turn.step}c{len(turn.answers)}",
            arrival=world.now(),
            prompt=call.prompt,
            output_tokens=call.output_tokens,
            tenant=self._tenant,
            priority=turn.step if self._prioritise else 0,
            program=f"agent-{turn.agent}",
        )
        self._turns[request.id] = turn
        world.submit(request)
        return True

    def _acted(self, turn: _Turn) -> list[Group]:
        """Note an agent's move; return who may go, once its whole group has moved."""
        agent = turn.agent
        move = self._behaviour.act(agent, turn.step, turn.seen, turn.answers)
        self._moves[agent] = move
        if self._keep:
            self.trace[agent, turn.step] = (turn.seen, move)
        turn.group.open -= 1
        return self.gate.finished(turn.group.members, self._write) if not turn.group.open else []

    def _write(self, agent: int) -> None:
        move = self._moves.pop(agent)
        self.town.write(agent, move.position, move.mood)
