"""The prefix index: a namespaced tree whose every node is one full page of tokens and the block holding it.

A node per page (rather than compressed edges) makes a match one dictionary look-up per page, never
splits, and lets a sequence publish its next page in O(1) from the node it published last.

A lease on a path is the reference that its sequence holds on each block of that path: whoever holds a
page also holds every page before it, so a node without references has no descendant with one.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator
from collections.abc import Sequence as Tokens

from penstock.core.kv.pool import BlockPool
from penstock.core.policy import EvictPolicy


class PrefixNode:
    """One cached page. ``block`` is -1 for the root of a namespace."""

    __slots__ = ("block", "children", "depth", "hits", "key", "last_used", "namespace", "parent", "stamp")

    def __init__(
        self, namespace: Hashable, parent: PrefixNode | None, key: tuple[int, ...], block: int
    ) -> None:
        self.namespace = namespace
        self.parent = parent
        self.key = key
        self.block = block
        self.children: dict[tuple[int, ...], PrefixNode] = {}
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.hits = 0
        self.last_used = 0.0
        self.stamp = 0
        """Counts the times it fell idle; an entry of the eviction heap with another stamp is stale."""


class RadixIndex:
    """Prefix tree over pages.

    Args:
        pool: the blocks; the index keeps some of them and is told when they fall idle.
        page_size: tokens per page.
        evict: which idle page goes first.
    """

    def __init__(self, pool: BlockPool, page_size: int, evict: EvictPolicy) -> None:
        self._pool = pool
        self._page = page_size
        self._evict = evict
        self._roots: dict[Hashable, PrefixNode] = {}
        self._by_block: dict[int, PrefixNode] = {}
        self._idle: list[tuple[object, int, int, PrefixNode]] = []
        self._pushes = 0
        self.now = 0.0
        """Engine-clock seconds; set by the KV manager each step."""

    def __len__(self) -> int:
        """Pages held."""
        return len(self._by_block)

    def root(self, namespace: Hashable) -> PrefixNode:
        """Return the (possibly new) root of a namespace."""
        root = self._roots.get(namespace)
        if root is None:
            root = self._roots[namespace] = PrefixNode(namespace, None, (), -1)
        return root

    def match(self, namespace: Hashable, tokens: Tokens[int], limit: int) -> list[PrefixNode]:
        """Return the cached path of the longest prefix of at most ``limit`` tokens; changes nothing."""
        page = self._page
        path: list[PrefixNode] = []
        node = self._roots.get(namespace)
        if node is None:
            return path
        for start in range(0, limit - page + 1, page):
            node = node.children.get(tuple(tokens[start : start + page]))
            if node is None:
                break
            path.append(node)
        return path

    def deepest(
        self, known: PrefixNode | None, namespace: Hashable, tokens: Tokens[int], limit: int
    ) -> PrefixNode | None:
        """Return the last page of what `match` would, going on from ``known``: its answer of an earlier time.

        Costs the pages that came or went since, instead of the whole prompt.
        """
        while known is not None and known.depth and self._by_block.get(known.block) is not known:
            known = known.parent  # evicted since; pages go leaf first, so some ancestor is still there
        node = known if known is not None and known.depth else self._roots.get(namespace)
        page = self._page
        while node is not None and (node.depth + 1) * page <= limit:
            start = node.depth * page
            further = node.children.get(tuple(tokens[start : start + page]))
            if further is None:
                break
            node = further
        return node if node is not None and node.depth else None

    def lease(self, path: list[PrefixNode]) -> None:
        """Take a reference on every page of a path that `match` returned."""
        for node in path:
            self._pool.share(node.block)
            node.hits += 1
            node.last_used = self.now

    def publish(self, parent: PrefixNode, key: tuple[int, ...], block: int) -> PrefixNode:
        """Add a page below ``parent`` and keep its block; return the node that holds this page.

        If another sequence published the same page first, its node is returned with a reference taken;
        the caller then uses that node's block in place of its own.
        """
        known = parent.children.get(key)
        if known is not None:
            self._pool.share(known.block)
            known.last_used = self.now
            return known
        node = PrefixNode(parent.namespace, parent, key, block)
        node.last_used = self.now
        parent.children[key] = node
        self._by_block[block] = node
        self._pool.keep(block)
        return node

    def on_idle(self, block: int) -> None:
        """Hear from the pool that a kept block lost its last reference."""
        node = self._by_block[block]
        node.last_used = self.now
        if not node.children:
            self._push(node)

    def shrink(self, count: int) -> int:
        """Give up to ``count`` idle pages back to the pool, worst first; return how many."""
        freed = 0
        while freed < count and self._idle:
            _, _, stamp, node = heapq.heappop(self._idle)
            if stamp != node.stamp or node.children or self._pool.refs[node.block]:
                continue
            self._remove(node)
            freed += 1
        return freed

    def nodes(self) -> Iterator[PrefixNode]:
        """Iterate over every page held, for checks and reports."""
        return iter(self._by_block.values())

    def _push(self, node: PrefixNode) -> None:
        node.stamp += 1
        self._pushes += 1
        heapq.heappush(self._idle, (self._evict.key(node), self._pushes, node.stamp, node))
        if len(self._idle) > 2 * len(self._by_block) + 64:
            self._idle = [e for e in self._idle if e[2] == e[3].stamp and e[3].block in self._by_block]
            heapq.heapify(self._idle)

    def _remove(self, node: PrefixNode) -> None:
        node.stamp += 1
        parent = node.parent
        assert parent is not None
        del parent.children[node.key]
        del self._by_block[node.block]
        self._pool.discard(node.block)
        if parent.children:
            return
        if parent.parent is None:
            self._roots.pop(parent.namespace, None)
        elif self._pool.refs[parent.block] == 0:
            self._push(parent)
