"""The KV side of a sequence's life: probe, acquire, grow, commit, roll back, suspend, release."""

from __future__ import annotations

from collections.abc import Hashable

from penstock.core.kv.pins import Owner, PinTable
from penstock.core.kv.pool import BlockPool
from penstock.core.kv.radix import PrefixNode, RadixIndex
from penstock.core.policy import EvictPolicy
from penstock.core.sequence import UNSENT, Sequence

_PageKey = tuple[Hashable, tuple[int, ...]]
"""A page in the making: what it hangs from (a node, or the namespace at the root) and its tokens."""


class KVManager:
    """Facade over one tier's pool and its prefix index; the only code that edits block tables.

    Args:
        blocks: blocks in the tier.
        page_size: tokens per block.
        evict: which idle cached page goes first.
        prefix_caching: whether prefixes are matched and published at all.
        fingerprint: salt of every namespace: model, weights, KV format.
        prefix_wait: whether a page that somebody is computing is waited for rather than computed again.
    """

    def __init__(
        self,
        blocks: int,
        page_size: int,
        evict: EvictPolicy,
        *,
        prefix_caching: bool,
        fingerprint: str,
        prefix_wait: bool = False,
    ) -> None:
        self.page = page_size
        self.pool = BlockPool(blocks, self._on_idle)
        self.pins = PinTable(self.pool)
        """References that belong to no sequence."""
        self.index = RadixIndex(self.pool, page_size, evict)
        self._caching = prefix_caching
        self._fingerprint = fingerprint
        self._waits = prefix_wait and prefix_caching
        self._under_way: dict[_PageKey, int] = {}
        """The next page of each running sequence whose tokens are all known, and who computes it."""
        self._announced: dict[int, _PageKey] = {}
        self.query_tokens = 0
        """Prompt tokens looked up in the prefix index, at admissions that succeeded."""
        self.hit_tokens = 0
        """Of these, tokens found."""

    @property
    def available(self) -> int:
        """Blocks that can be had at once: free ones and idle cached ones."""
        return self.pool.free + self.pool.reclaimable

    def pages(self, tokens: int) -> int:
        """Blocks needed to hold ``tokens`` tokens."""
        return -(-tokens // self.page)

    def namespace_of(self, cache_namespace: str, adapter: str | None) -> Hashable:
        """The isolation domain of cached prefixes of such requests."""
        return (self._fingerprint, cache_namespace, adapter)

    def namespace(self, seq: Sequence) -> Hashable:
        """The isolation domain of a sequence's cached prefixes."""
        return (self._fingerprint, seq.spec.cache_namespace, seq.spec.adapter)

    def _deepest(self, seq: Sequence) -> PrefixNode | None:
        """Return the last page of the cached path that a sequence without blocks could start from.

        At least one token is always left to compute, since its logits are needed. A request for
        scores or the average of its prompt needs every prompt token, and so takes nothing from the cache.
        Cheap to ask again: the sequence's cursor remembers the last answer.
        """
        if not self._caching or (seq.spec.sampling.needs_whole_prompt and seq.generated == 0):
            return None
        seq.cursor = self.index.deepest(seq.cursor, self.namespace(seq), seq.tokens, seq.target - 1)
        return seq.cursor

    def probe(self, seq: Sequence) -> list[PrefixNode]:
        """Return the cached path that a sequence without blocks could start from."""
        node, path = self._deepest(seq), []
        while node is not None and node.depth:
            path.append(node)
            node = node.parent
        return path[::-1]

    def next_page_under_way(self, seq: Sequence) -> bool:
        """Whether a running sequence is computing the first page that a waiting one does not find cached.

        It will be published without fail, or its computer leaves and this turns false.
        """
        if not self._under_way or (seq.spec.sampling.needs_whole_prompt and seq.generated == 0):
            return False
        last = self._deepest(seq)
        start = last.depth * self.page if last is not None else 0
        if start + self.page > seq.target - 1:
            return False
        parent = last if last is not None else self.namespace(seq)
        return (parent, tuple(seq.tokens[start : start + self.page])) in self._under_way

    def cached_tokens(self, seq: Sequence) -> int:
        """Return how many of its tokens a sequence found in the cache, or would find if it were admitted."""
        if seq.blocks:
            return seq.cached_tokens
        last = self._deepest(seq)
        return last.depth * self.page if last is not None else 0

    def acquire(self, seq: Sequence, demand: int = 0) -> bool:
        """Give an admitted sequence its cached prefix and blocks for all its known tokens, or nothing.

        Args:
            seq: a sequence without blocks.
            demand: blocks that must be obtainable, those of the cached prefix included.

        Returns:
            False, with nothing changed, if the blocks are not to be had.
        """
        last = self._deepest(seq)
        found = last.depth if last is not None else 0
        pool, known = self.pool, self.pages(seq.target)
        short = max(known, demand) - found - self.available
        if short > 0:
            return False
        path = self.probe(seq)
        if short + sum(1 for node in path if pool.refs[node.block] == 0) > 0:
            return False
        need = known - found
        self.index.lease(path)
        seq.blocks = [node.block for node in path]
        self._extend(seq, need)
        seq.published = len(path)
        seq.cursor = path[-1] if path else None
        seq.computed = seq.planned = len(path) * self.page
        if self._waits:
            self._announce(seq)
        return True

    def _announce(self, seq: Sequence) -> None:
        """Note the page that a running sequence computes next, in place of the one it did before; O(1)."""
        self._withdraw(seq)
        start = seq.published * self.page
        if start + self.page > len(seq.tokens):
            return
        parent = seq.cursor or self.namespace(seq)
        key = (parent, tuple(seq.tokens[start : start + self.page]))
        if key not in self._under_way:
            self._under_way[key] = seq.number
            self._announced[seq.number] = key

    def _withdraw(self, seq: Sequence) -> None:
        key = self._announced.pop(seq.number, None)
        if key is not None:
            del self._under_way[key]

    def note_admitted(self, seq: Sequence) -> None:
        """Count a sequence's prefix look-up, at its first admission."""
        seq.cached_tokens = seq.computed
        self.query_tokens += seq.prompt_length
        self.hit_tokens += seq.computed

    def grow(self, seq: Sequence, tokens: int) -> bool:
        """Make room for ``tokens`` tokens in all; False, with nothing changed, if blocks are short."""
        need = self.pages(tokens) - len(seq.blocks)
        if need > self.available:
            return False
        self._extend(seq, need)
        return True

    def _extend(self, seq: Sequence, count: int) -> None:
        if count > 0:
            short = count - self.pool.free
            if short > 0:
                self.index.shrink(short)
            seq.blocks.extend(self.pool.allocate(count))
        seq.room = len(seq.blocks) * self.page

    def commit(self, seq: Sequence) -> None:
        """Publish the pages that ``seq.computed`` has completed since the last call."""
        page, full = self.page, seq.computed // self.page
        if not self._caching:
            seq.published = full
            return
        parent = seq.cursor or self.index.root(self.namespace(seq))
        for i in range(seq.published, full):
            own = seq.blocks[i]
            parent = self.index.publish(parent, tuple(seq.tokens[i * page : (i + 1) * page]), own)
            if parent.block != own:
                # Somebody published this page first: use theirs and let go of ours.
                seq.blocks[i] = parent.block
                self.pool.release((own,), seq.ticket)
                if seq.table_sent > i:
                    seq.table_sent = i
        seq.cursor = parent
        seq.published = full
        if self._waits:
            self._announce(seq)

    def pin(self, seq: Sequence, owner: Owner, seconds: float, since: float, tokens: int) -> None:
        """Keep the published pages of a sequence that is about to leave.

        Args:
            seq: holds blocks.
            owner: on whose behalf.
            seconds: for how long at most.
            since: when the owner first arrived.
            tokens: leading tokens that matter; only full pages of them are kept.
        """
        pages = min(seq.published, tokens // self.page)
        self.pins.pin(owner, seq.blocks[:pages], self.index.now + seconds, since)

    def rollback(self, seq: Sequence, tokens: int) -> None:
        """Withdraw the last ``tokens`` planned tokens (rejected drafts) and the blocks only they needed.

        Raises:
            ValueError: that many are not planned beyond the computed ones.
        """
        if tokens > seq.planned - seq.computed:
            raise ValueError(f"{seq.id}: cannot roll back {tokens} of {seq.planned - seq.computed} tokens")
        seq.planned -= tokens
        keep = self.pages(max(seq.planned, seq.target))
        surplus = seq.blocks[keep:]
        if surplus:
            del seq.blocks[keep:]
            self.pool.release(reversed(surplus), seq.ticket)
            seq.room = len(seq.blocks) * self.page
            seq.table_sent = min(seq.table_sent, keep)

    def release(self, seq: Sequence) -> None:
        """Take all blocks from a sequence; they become reusable once its last step has landed."""
        if seq.blocks:
            # Deepest first, so that leaves of the prefix tree fall idle before their parents.
            self.pool.release(reversed(seq.blocks), seq.ticket)
        if self._waits:
            self._withdraw(seq)
        seq.blocks = []
        seq.room = seq.published = 0
        seq.cursor = None
        seq.table_sent = UNSENT

    def suspend(self, seq: Sequence) -> None:
        """Preempt by recomputation: give up the blocks and start over from whatever stays cached."""
        self.release(seq)
        seq.void_through = seq.ticket
        seq.computed = seq.planned = 0

    def reset(self) -> bool:
        """Forget every cached and pinned prefix; False, with nothing changed, while a sequence uses any."""
        if self.pool.reclaimable + self.pins.alone() != len(self.index):
            return False
        self.pins.clear()
        self.index.shrink(len(self.index))
        return True

    def _on_idle(self, block: int) -> None:
        self.index.on_idle(block)
