"""Which prompts of a finished list share which prefix, when each prompt may share only one.

Token tries with compressed edges, made from the sorted prompts. Of a trie only one level of sharing is used:
a group is a common prefix and the distinct rest of each member, so that a prefix is computed once and held
while its group runs. Source: Zheng et al., "BatchLLM" (arXiv 2412.03594).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np


class PrefixGroup(NamedTuple):
    """Prompts that share their first ``shared`` tokens."""

    shared: int
    members: tuple[int, ...]
    """Places in the list, ascending."""


class _Node:
    """A node of a trie; ``length`` is that of the edge above it, in units."""

    __slots__ = ("children", "depth", "leaves", "length", "members")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.length = 0
        self.children: list[_Node] = []
        self.members: list[int] = []
        """Prompts that end here."""
        self.leaves = 0

    def everybody(self) -> Iterator[int]:
        pending = [self]
        while pending:
            node = pending.pop()
            yield from node.members
            pending.extend(node.children)


def _sorted_bytes(prompts: Sequence[Sequence[int]], unit: int) -> list[tuple[bytes, int]]:
    """Prompts as bytes that sort as their tokens do, cut to what may be shared, with their places.

    One token of each is left out, for a prompt must have something to compute.
    """
    made = []
    for place, prompt in enumerate(prompts):
        sharable = (len(prompt) - 1) // unit * unit
        made.append((np.asarray(prompt[:sharable], dtype=">i8").tobytes(), place))
    return sorted(made)


def _common(a: bytes, b: bytes, width: int) -> int:
    """Leading units of ``width`` bytes that are equal."""
    low, high = 0, min(len(a), len(b)) // width
    while low < high:
        middle = (low + high + 1) // 2
        if a[low * width : middle * width] == b[low * width : middle * width]:
            low = middle
        else:
            high = middle - 1
    return low


def _trie(prompts: Sequence[Sequence[int]], unit: int) -> _Node:
    """Return the root; every inner node but the root branches or ends a prompt that others go on from."""
    width = 8 * unit
    root = _Node(0)
    path, before = [root], b""
    for text, place in _sorted_bytes(prompts, unit):
        shared = _common(before, text, width)
        below: _Node | None = None
        while path[-1].depth > shared:
            below = path.pop()
        if path[-1].depth < shared:
            fork = _Node(shared)
            assert below is not None
            path[-1].children[-1] = fork
            fork.children.append(below)
            path.append(fork)
        depth = len(text) // width
        if depth > path[-1].depth:
            leaf = _Node(depth)
            path[-1].children.append(leaf)
            path.append(leaf)
        path[-1].members.append(place)
        before = text
    _measure(root)
    return root


def _postorder(root: _Node) -> list[_Node]:
    order, pending = [], [root]
    while pending:
        node = pending.pop()
        order.append(node)
        pending.extend(node.children)
    return order[::-1]


def _measure(root: _Node) -> None:
    """Fill in edge lengths and numbers of prompts below."""
    for node in _postorder(root):
        node.leaves = len(node.members) + sum(child.leaves for child in node.children)
        for child in node.children:
            child.length = child.depth - node.depth


def _enlarge(root: _Node) -> None:
    """The paper's enlargement of first-level prefixes, bottom up.

    A grandchild is made a child where its own tokens, shared by its leaves, outweigh computing the child's
    tokens once more: (leaves - 1) * len(grandchild) > len(child).
    """
    for node in _postorder(root):
        children: list[_Node] = []
        for child in node.children:
            kept: list[_Node] = []
            for grand in child.children:
                alone = not kept and grand is child.children[-1] and not child.members
                if not alone and (grand.leaves - 1) * grand.length > child.length:
                    grand.length += child.length
                    child.leaves -= grand.leaves
                    children.append(grand)
                else:
                    kept.append(grand)
            child.children = kept
            if len(kept) == 1 and not child.members:
                kept[0].length += child.length
                child = kept[0]
            children.append(child)
        node.children = children


def _optimal(root: _Node) -> list[_Node]:
    """The nodes that are best used as prefixes, exactly.

    A used node costs its depth once; a prompt costs what its deepest used ancestor leaves. For each node and
    each depth that may be covered above it the cheaper of using it and not is kept: O(nodes * height).
    """
    costs: dict[int, dict[int, tuple[int, bool]]] = {}
    above: dict[int, list[int]] = {id(root): [0]}
    order = _postorder(root)
    for node in reversed(order):  # parents first
        for child in node.children:
            above[id(child)] = [*above[id(node)], child.depth]
    for node in order:
        mine: dict[int, tuple[int, bool]] = {}

        def below(covered: int, node: _Node = node) -> int:
            own = len(node.members) * (node.depth - covered)
            return own + sum(costs[id(child)][covered][0] for child in node.children)

        use = node.depth + below(node.depth)
        for covered in above[id(node)][:-1] or [0]:
            leave = below(covered)
            mine[covered] = (use, True) if use < leave else (leave, False)
        # What its children see if it is used.
        mine[node.depth] = (below(node.depth), False)
        costs[id(node)] = mine
    used, pending = [], [(root, 0)]
    while pending:
        node, covered = pending.pop()
        if node is not root and costs[id(node)][covered][1]:
            used.append(node)
            covered = node.depth
        pending.extend((child, covered) for child in node.children)
    return used


def find_groups(
    prompts: Sequence[Sequence[int]],
    *,
    unit: int = 1,
    method: Literal["enlarge", "optimal", "first-level"] = "enlarge",
) -> list[PrefixGroup]:
    """Divide prompts into groups, each with the prefix that its members share.

    Args:
        prompts: token ids, at least one each.
        unit: sharing is counted in so many tokens (the KV page, for an engine that shares whole pages).
        method: ``enlarge``, the paper's rule; ``optimal``, the least total at some more cost;
            ``first-level``, the trie's first level as it is.

    Returns:
        Groups in the order of their first members; a prompt that shares nothing is a group of one.
    """
    root = _trie(prompts, unit)
    if method == "optimal":
        groups = _assign(root, _optimal(root), unit)
    else:
        if method == "enlarge":
            _enlarge(root)
        groups = [PrefixGroup(0, (place,)) for place in root.members]
        for node in root.children:
            members = tuple(sorted(node.everybody()))
            groups.append(PrefixGroup(node.length * unit if len(members) > 1 else 0, members))
    return sorted(groups, key=lambda group: group.members[0])


def _assign(root: _Node, used: list[_Node], unit: int) -> list[PrefixGroup]:
    chosen = {id(node) for node in used}
    found: dict[int, tuple[int, list[int]]] = {}
    groups: list[PrefixGroup] = []
    pending: list[tuple[_Node, _Node | None]] = [(root, None)]
    while pending:
        node, prefix = pending.pop()
        if id(node) in chosen:
            prefix = node
        if prefix is None:
            groups.extend(PrefixGroup(0, (place,)) for place in node.members)
        elif node.members:
            found.setdefault(id(prefix), (prefix.depth, []))[1].extend(node.members)
        pending.extend((child, prefix) for child in node.children)
    for depth, members in found.values():
        groups.append(PrefixGroup(depth * unit if len(members) > 1 else 0, tuple(sorted(members))))
    return groups


def total_tokens(prompts: Sequence[Sequence[int]], groups: Sequence[PrefixGroup]) -> int:
    """Return the prompt tokens that are computed when each group's prefix is computed once."""
    total = sum(len(prompt) for prompt in prompts)
    return total - sum(group.shared * (len(group.members) - 1) for group in groups)


def trie_tokens(prompts: Sequence[Sequence[int]], unit: int = 1) -> int:
    """Return the prompt tokens that are computed when every level of the trie is shared, the least of all."""
    root = _trie(prompts, unit)
    shared = sum(node.length for node in _postorder(root)) * unit
    rest = sum(len(prompt) - (len(prompt) - 1) // unit * unit for prompt in prompts)
    return shared + rest


def by_decode_ratio(
    prompts: Sequence[Sequence[int]], groups: Sequence[PrefixGroup], decodes: Sequence[int]
) -> list[PrefixGroup]:
    """Return groups by tokens to generate per prompt token to compute, largest first; ties as given.

    Args:
        prompts: token ids.
        groups: of all prompts.
        decodes: tokens that each prompt will or may generate.
    """

    def ratio(group: PrefixGroup) -> float:
        prefill = group.shared + sum(len(prompts[place]) - group.shared for place in group.members)
        return sum(decodes[place] for place in group.members) / prefill

    return sorted(groups, key=lambda group: -ratio(group))
