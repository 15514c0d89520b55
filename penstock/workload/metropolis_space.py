"""Where simulated agents live: a metric, and an index that finds who is near."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Protocol

from penstock.core.errors import ConfigError

Position = Hashable
"""A tile ``(x, y)`` of a `Grid`, or a node of a `Graph`."""


class NearIndex(Protocol):
    """Who is where."""

    def put(self, agent: int, position: Any) -> None:
        """Note an agent's position, new or changed."""
        ...

    def near(self, position: Any, radius: float) -> Iterator[int]:
        """Yield at least the agents within ``radius``, and possibly some beyond; order is not defined."""
        ...


class Space(Protocol):
    """A metric space of positions."""

    def distance(self, a: Any, b: Any) -> float:
        """Return the distance; symmetric, and no detour is shorter."""
        ...

    def index(self, scale: float) -> NearIndex:
        """Return an empty index, best for radii of about ``scale``."""
        ...


class Grid:
    """Tiles ``(x, y)``; a step to any of the eight neighbours has length 1 (Chebyshev metric).

    Args:
        width, height: tiles, at least 1 each; a height of 1 is a line.

    Raises:
        ConfigError: an empty grid.
    """

    def __init__(self, width: int, height: int = 1) -> None:
        if width < 1 or height < 1:
            raise ConfigError("world.grid", f"expected at least one tile, got {width} x {height}")
        self.width, self.height = width, height

    def distance(self, a: tuple[int, int], b: tuple[int, int]) -> float:
        """Return how many steps apart two tiles are."""
        return max(abs(a[0] - b[0]), abs(a[1] - b[1]))

    def clip(self, x: int, y: int) -> tuple[int, int]:
        """Return the tile of the grid nearest to a point."""
        return min(max(x, 0), self.width - 1), min(max(y, 0), self.height - 1)

    def index(self, scale: float) -> NearIndex:
        """Return buckets of ``scale`` by ``scale`` tiles."""
        return Buckets(max(1, math.ceil(scale)))


class Graph:
    """Nodes joined by edges of length 1, e.g. the rooms of a building; distances are tabled, O(nodes^2).

    Args:
        edges: the neighbours of each node; an edge may be named from either side.

    Raises:
        ConfigError: the graph is not connected, so that some distance is undefined.
    """

    def __init__(self, edges: Mapping[int, Iterable[int]]) -> None:
        self.neighbours: dict[int, list[int]] = {node: [] for node in edges}
        for node, others in edges.items():
            for other in others:
                self.neighbours.setdefault(other, []).append(node)
                self.neighbours[node].append(other)
        self.neighbours = {node: sorted(set(others)) for node, others in sorted(self.neighbours.items())}
        self._distances = {node: self._from(node) for node in self.neighbours}
        if any(len(row) < len(self.neighbours) for row in self._distances.values()):
            raise ConfigError("world.graph", "expected a connected graph")

    def _from(self, start: int) -> dict[int, int]:
        found, queue = {start: 0}, deque([start])
        while queue:
            node = queue.popleft()
            for other in self.neighbours[node]:
                if other not in found:
                    found[other] = found[node] + 1
                    queue.append(other)
        return found

    def distance(self, a: int, b: int) -> float:
        """Return the edges of the shortest path."""
        return self._distances[a][b]

    def index(self, scale: float) -> NearIndex:
        """Return a list of everybody: distances are a look-up anyway."""
        return Everybody()


class Buckets:
    """Agents by square of ``side`` by ``side`` tiles; a query visits squares, or everybody if that is
    less."""

    def __init__(self, side: int) -> None:
        self._side = side
        self._squares: dict[tuple[int, int], set[int]] = {}
        self._square_of: dict[int, tuple[int, int]] = {}

    def put(self, agent: int, position: tuple[int, int]) -> None:
        """See `NearIndex`."""
        square = (position[0] // self._side, position[1] // self._side)
        old = self._square_of.get(agent)
        if old == square:
            return
        if old is not None:
            self._squares[old].discard(agent)
            if not self._squares[old]:
                del self._squares[old]
        self._square_of[agent] = square
        self._squares.setdefault(square, set()).add(agent)

    def near(self, position: tuple[int, int], radius: float) -> Iterator[int]:
        """See `NearIndex`."""
        side, reach = self._side, math.ceil(radius)
        columns = range((position[0] - reach) // side, (position[0] + reach) // side + 1)
        rows = range((position[1] - reach) // side, (position[1] + reach) // side + 1)
        if len(columns) * len(rows) > len(self._squares):
            yield from self._square_of
            return
        for square in product(columns, rows):
            yield from self._squares.get(square, ())


class Everybody:
    """An index that leaves nobody out."""

    def __init__(self) -> None:
        self._agents: dict[int, None] = {}

    def put(self, agent: int, position: Any) -> None:
        """See `NearIndex`."""
        self._agents[agent] = None

    def near(self, position: Any, radius: float) -> Iterator[int]:
        """See `NearIndex`."""
        return iter(self._agents)


class Seen(tuple[int, Any, int]):
    """What an agent perceives of another: its number, position and mood."""

    __slots__ = ()


class Town:
    """The one store that all agents read and write: where each is, and its mood (a number that others see).

    Nothing is versioned: it holds the present only, whichever step each agent is at.

    Args:
        space: the metric.
        positions: of each agent at step 0.
        scale: typical radius of queries.
    """

    def __init__(self, space: Space, positions: Sequence[Any], scale: float) -> None:
        self.space = space
        self.positions: list[Any] = list(positions)
        self.moods = [0] * len(self.positions)
        self._index = space.index(scale)
        for agent, position in enumerate(self.positions):
            self._index.put(agent, position)

    def __len__(self) -> int:
        """Agents."""
        return len(self.positions)

    def within(self, agent: int, radius: float) -> list[int]:
        """Return the other agents within ``radius`` of one, by number."""
        here, where, distance = self.positions[agent], self.positions, self.space.distance
        near = self._index.near(here, radius)
        return sorted(b for b in near if b != agent and distance(here, where[b]) <= radius)

    def observe(self, agent: int, radius: float) -> tuple[Seen, ...]:
        """Return what an agent perceives now."""
        return tuple(Seen((b, self.positions[b], self.moods[b])) for b in self.within(agent, radius))

    def write(self, agent: int, position: Any, mood: int) -> None:
        """Move an agent."""
        self.positions[agent] = position
        self.moods[agent] = mood
        self._index.put(agent, position)
