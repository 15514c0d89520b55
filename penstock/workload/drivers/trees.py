"""Tree searches (Tree of Thoughts): every answer is continued by several requests that share its prompt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from penstock.workload.driver import Served, World
from penstock.workload.generate import Streams
from penstock.workload.request import Span, TraceRequest


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """One search: ``branches`` requests on the first level, as many again for every answer above the last
    level."""

    id: str
    arrival: float
    root: tuple[Span, ...]
    """Instructions and question."""
    branches: int
    depth: int
    """Levels of requests: the tree has branches + branches^2 + ... + branches^depth of them."""
    output: int
    """Tokens of every thought."""
    quote: int
    """How many tokens of a thought its continuations quote."""
    tenant: str = "default"


class _Node(NamedTuple):
    tree: Tree
    level: int


class Trees:
    """Searches trees that arrive in open loop.

    Args:
        trees: in order of arrival.
        numbers: of token streams.
    """

    def __init__(self, trees: Iterator[Tree], numbers: Streams) -> None:
        self._trees, self._numbers = trees, numbers
        self._nodes: dict[str, _Node] = {}

    def begin(self, world: World) -> None:
        """Send the first tree."""
        self._next(world)

    def _next(self, world: World) -> None:
        tree = next(self._trees, None)
        if tree is None:
            return
        self._branch(tree, 1, tree.id, tree.root, tree.arrival, world)
        world.at(max(tree.arrival, world.now()), lambda: self._next(world))

    def _branch(
        self, tree: Tree, level: int, parent: str, prompt: tuple[Span, ...], when: float, world: World
    ) -> None:
        for number in range(tree.branches):
            request = TraceRequest(
                id=f"{parent}.{number}",
                arrival=when,
                prompt=prompt,
                output_tokens=tree.output,
                output_stream=next(self._numbers),
                tenant=tree.tenant,
                program=tree.id,
            )
            self._nodes[request.id] = _Node(tree, level)
            world.submit(request)

    def served(self, result: Served, world: World) -> None:
        """Continue an answer, unless it is a leaf or failed."""
        tree, level = self._nodes.pop(result.request.id)
        if not result.ok or level == tree.depth:
            return
        quoted = Span(result.request.output_stream, min(tree.quote, tree.output))
        prompt = (*result.request.prompt, quoted)
        self._branch(tree, level + 1, result.request.id, prompt, world.now(), world)
