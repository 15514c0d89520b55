"""AI Metropolis: which agents of a simulated world may go ahead of which.

Source: Xie et al., "AI Metropolis: Scaling Large Language Model-based Multi-Agent Simulation with
Out-of-order Execution" (MLSys 2025). The rules here are our own statement of the paper's, with this proof.
An agent *at step s* has finished s steps. A state is valid if agents at different steps are far apart:
``dist(A, B) > radius + (|s_A - s_B| - 1) * speed``. When A, not blocked by B (``s_B < s_A``), takes a step,
``dist > radius + (s_A - s_B + 1) * speed - speed``, which is the bound for the new gap; for B at A's own
step and not coupled, ``dist > radius``. So a valid state stays valid, and in a valid state whoever stands
within the radius of an agent that starts a step is at its own step: nobody perceives another's future or
past, though the store keeps no versions. The agents at the lowest step are never blocked, so there is
always progress. It takes effects that stay within the radius, and writes by the acting agents only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from penstock.core.errors import ConfigError
from penstock.workload.metropolis_space import Town

Group = tuple[int, ...]
"""Agents that take a step together, by number."""


@dataclass(frozen=True)
class Rules:
    """How far agents perceive and move.

    Raises:
        ConfigError: agents that move farther than they perceive, or stand still.
    """

    radius: float
    """An agent perceives and affects what is at most so far away."""
    speed: float = 1.0
    """No agent moves farther in a step."""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not 0 < self.speed <= self.radius:
            raise ConfigError(
                "world.radius", f"expected at least the speed ({self.speed:g}), got {self.radius:g}"
            )

    def coupling(self) -> float:
        """Return the distance up to which agents at one step go together."""
        return self.radius + self.speed

    def blocking(self, lead: int) -> float:
        """Return the distance up to which an agent ``lead`` steps behind holds another up."""
        return self.radius + (lead + 1) * self.speed


class Dependencies:
    """Steps of all agents, and the two questions asked of them.

    Args:
        town: positions; the caller writes them before `advance`.
        rules: distances.
    """

    def __init__(self, town: Town, rules: Rules) -> None:
        self.town = town
        self.rules = rules
        self.steps = [0] * len(town)
        self.lowest = 0
        """Step of the agents that are farthest behind."""
        self.skew = 0
        """Largest lead that any agent has had over those."""
        self._at_step = {0: len(town)}

    def cluster(self, agent: int, idle: Collection[int]) -> Group:
        """Return the agents coupled to one, at the same step and idle, over any number of links."""
        step, found, frontier = self.steps[agent], {agent}, [agent]
        while frontier:
            for other in self.town.within(frontier.pop(), self.rules.coupling()):
                if other not in found and self.steps[other] == step and other in idle:
                    found.add(other)
                    frontier.append(other)
        return tuple(sorted(found))

    def blocker(self, group: Group) -> int | None:
        """Return an agent that holds the group up, or None."""
        steps, town, rules = self.steps, self.town, self.rules
        for agent in group:
            lead = steps[agent] - self.lowest
            if not lead:
                continue
            here = town.positions[agent]
            for other in town.within(agent, rules.blocking(lead)):
                behind = steps[agent] - steps[other]
                if behind > 0:
                    distance = town.space.distance(here, town.positions[other])
                    if distance <= rules.blocking(behind):
                        return other
        return None

    def advance(self, group: Iterable[int]) -> None:
        """Note that agents finished a step."""
        for agent in group:
            step = self.steps[agent]
            self.steps[agent] = step + 1
            self._at_step[step] -= 1
            self._at_step[step + 1] = self._at_step.get(step + 1, 0) + 1
        while not self._at_step.get(self.lowest):
            del self._at_step[self.lowest]
            self.lowest += 1
        self.skew = max(self.skew, max(self.steps[agent] for agent in group) - self.lowest)


Write = Callable[[int], None]
"""Puts an agent's move into the store."""


class LockStep:
    """All agents take a step, each for itself; the next begins when the last has finished."""

    def __init__(self, town: Town, steps: int, together: bool = True) -> None:
        self.steps = [0] * len(town)
        self._last = steps
        self._together = together
        self._done: list[int] = []

    def start(self) -> list[Group]:
        """Return who begins."""
        everybody: list[Group] = [(agent,) for agent in range(len(self.steps))]
        return everybody if self._together else everybody[:1]

    def finished(self, group: Group, write: Write) -> list[Group]:
        """Take a group's step in; moves are written when everybody has made theirs. Return who may go."""
        self._done.extend(group)
        if len(self._done) < len(self.steps):
            return [] if self._together else [(len(self._done),)]
        for agent in sorted(self._done):
            write(agent)
            self.steps[agent] += 1
        self._done.clear()
        return self.start() if self.steps[0] < self._last else []


class SingleThread(LockStep):
    """One agent after the other."""

    def __init__(self, town: Town, steps: int) -> None:
        super().__init__(town, steps, together=False)


class OutOfOrder:
    """Whoever is not blocked goes ahead, together with those it is coupled to.

    Args:
        town: the store.
        steps: that each agent takes.
        rules: distances.
    """

    def __init__(self, town: Town, steps: int, rules: Rules) -> None:
        self.dependencies = Dependencies(town, rules)
        self._last = steps
        self._idle = set(range(len(town)))
        self._waiting: dict[int, set[int]] = {}

    @property
    def steps(self) -> list[int]:
        """Steps that each agent has finished."""
        return self.dependencies.steps

    def start(self) -> list[Group]:
        """Return who begins."""
        return self._ready(range(len(self.steps)))

    def finished(self, group: Group, write: Write) -> list[Group]:
        """Take a group's step in: its moves are written at once. Return who may go now."""
        for agent in group:
            write(agent)
        self.dependencies.advance(group)
        self._idle.update(agent for agent in group if self.steps[agent] < self._last)
        woken = set(group)
        for agent in group:
            woken |= self._waiting.pop(agent, set())
        return self._ready(woken)

    def _ready(self, agents: Iterable[int]) -> list[Group]:
        """Return the groups that may go, lowest step first; who may not waits for one that is in the way."""
        found: list[Group] = []
        for agent in sorted(agents, key=lambda one: (self.steps[one], one)):
            if agent not in self._idle:
                continue
            group = self.dependencies.cluster(agent, self._idle)
            blocker = self.dependencies.blocker(group)
            if blocker is None:
                self._idle.difference_update(group)
                found.append(group)
            else:
                self._waiting.setdefault(blocker, set()).update(group)
        return found


class Oracle:
    """Knows from a recorded run who will perceive whom, and waits for nobody else: a bound, not a policy.

    An agent may take step s once everybody within its radius at that step has finished s steps.

    Args:
        town: the store; what is read from it may be wrong, so the run must be a replay.
        steps: that each agent takes.
        met: of each step, of each agent: whom it has within its radius.
    """

    def __init__(self, town: Town, steps: int, met: list[list[list[int]]]) -> None:
        self.steps = [0] * len(town)
        self._last = steps
        self._met = met
        self._waiting: dict[int, set[int]] = {}

    def start(self) -> list[Group]:
        """Return who begins."""
        return [(agent,) for agent in range(len(self.steps))]

    def finished(self, group: Group, write: Write) -> list[Group]:
        """Take an agent's step in. Return who may go now."""
        (agent,) = group
        write(agent)
        self.steps[agent] += 1
        woken = self._waiting.pop(agent, set()) | {agent}
        return [(one,) for one in sorted(woken, key=lambda one: (self.steps[one], one)) if self._free(one)]

    def _free(self, agent: int) -> bool:
        step = self.steps[agent]
        if step >= self._last:
            return False
        for other in self._met[step][agent]:
            if self.steps[other] < step:
                self._waiting.setdefault(other, set()).add(agent)
                return False
        return True
