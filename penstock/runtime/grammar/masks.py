"""What running sequences may say next: one matcher per slot, moved on and asked beside the forward pass.

When a token has landed its matcher accepts it and fills the mask for the next one, both on a thread of this
object, while the loop plans and runs the next step (the libraries let other threads run meanwhile). The
sampler takes the masks when the logits are there. A mask is a function of the sequence's own tokens, so
retries, preemption and batch-mates change nothing.

Legend: R sampled rows, X rows of them that have a grammar, V vocabulary, W words of a mask.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from penstock.core.plan import SlotInit
from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.after import AfterMatcher, Marker
from penstock.runtime.grammar.protocol import Grammar, GrammarError, Mask, Matcher
from penstock.runtime.grammar.vocabulary import Vocabulary

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds to wait for a mask. Grammars were tried out before, so this ends only what slipped through."""


MAX_MARKERS = 16
"""Texts that grammars begin after, and what is known of each, that are kept."""


class Source(Protocol):
    """Where compiled grammars are; `penstock.runtime.grammar.service.GrammarService` is one."""

    def find(self, spec: GrammarSpec) -> Grammar | None:
        """Return a compiled grammar."""
        ...

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's; known when anything has been compiled."""
        ...


@dataclass(slots=True)
class _Follower:
    """One description of a slot; a later one gets a follower of its own."""

    grammar: Grammar
    spec: GrammarSpec
    tokens: tuple[int, ...]
    """Generated before this description."""
    keep_on: bool
    """ignore_eos: end only when nothing else is allowed."""
    mask_W: Mask
    matcher: Matcher | None = None
    over: bool = False
    """The grammar allows nothing more: the sequence ends here."""
    error: str | None = None
    ready: Future[None] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class _Item:
    """Tokens that a follower is to go on by."""

    follower: _Follower
    tokens: tuple[int, ...]
    ready: Future[None]


class _Lane:
    """A thread and what it is at; a daemon, for one that hangs must not keep the program alive."""

    def __init__(self, work: Callable[[_Lane, list[_Item]], None]) -> None:
        self.at: _Item | None = None
        self.left_behind = False
        self._work = work
        self._inbox: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="penstock-masks", daemon=True).start()

    def put(self, items: list[_Item] | None) -> None:
        """Hand work over; None ends the thread."""
        self._inbox.put(items)

    def _run(self) -> None:
        while (items := self._inbox.get()) is not None:
            self._work(self, items)


@dataclass(slots=True)
class Masks:
    """The masks of one step."""

    rows_X: list[int]
    """Rows that have one."""
    masks_XW: Mask
    over: dict[int, int]
    """Rows whose sequence ends -> the stop id that says so, -1 if the model has none."""
    failed: list[int]
    """Rows whose grammar can no longer be followed."""


class GrammarMasks:
    """Follows the sequences of all slots that have a grammar. One thread calls it.

    Args:
        source: the compiled grammars.
        vocab_size: width of the logits.
    """

    def __init__(self, source: Source, vocab_size: int) -> None:
        self._source = source
        self._words = -(-vocab_size // 32)
        self._followers: dict[int, _Follower] = {}
        self._lane: _Lane | None = None
        self._open: list[_Item] = []
        """What was handed to the lane and may not be done yet, in order."""
        self._markers: dict[str, Marker] = {}
        self._plain_W: Mask | None = None

    def admit(self, init: SlotInit) -> str | None:
        """Follow the sequence that a slot was given, from the start of its answer.

        Returns:
            None, or why that cannot be.
        """
        self._followers.pop(init.slot, None)
        spec = init.grammar
        if spec is None:
            return None
        grammar = self._source.find(spec)
        if grammar is None:
            return f"{spec.field}: the grammar was not compiled"
        follower = _Follower(
            grammar,
            spec,
            init.tokens[init.prompt_length :],
            init.sampling.ignore_eos,
            np.zeros(self._words, np.int32),
        )
        self._followers[init.slot] = follower
        self._work([(follower, follower.tokens)])
        return None

    def drop(self, slots: Iterable[int]) -> None:
        """Stop following."""
        if self._followers:
            for slot in slots:
                self._followers.pop(slot, None)

    def accept(self, slots: Iterable[int], tokens: Iterable[int]) -> None:
        """Note the next token of each slot; slots without a grammar are passed over."""
        found: list[tuple[_Follower, tuple[int, ...]]] = [
            (follower, (token,))
            for slot, token in zip(slots, tokens, strict=True)
            if (follower := self._followers.get(slot)) is not None
        ]
        if found:
            self._work(found)

    def take(self, slots_R: Iterable[int]) -> Masks | None:
        """Return the masks of the rows' slots, waiting for those in the making; None if no row has one."""
        rows, masks, over, failed = [], [], dict[int, int](), []
        for r, slot in enumerate(slots_R):
            follower = self._followers.get(slot)
            if follower is None:
                continue
            self._wait(follower)
            if follower.error is not None:
                failed.append(r)
                continue
            if follower.over:
                over[r] = stops[0] if (stops := self._source.vocabulary.stop_ids) else -1
            if over.get(r, 0) >= 0:
                rows.append(r)
                masks.append(follower.mask_W)
        if not (rows or over or failed):
            return None
        stacked = np.stack(masks) if masks else np.zeros((0, self._words), np.int32)
        return Masks(rows, stacked, over, failed)

    def close(self) -> None:
        """Let the thread end."""
        if self._lane is not None:
            self._lane.put(None)
            self._lane = None

    def _wait(self, follower: _Follower) -> None:
        while True:
            try:
                follower.ready.result(PATIENCE)
                return
            except NotInTime:
                self._leave_behind()

    def _leave_behind(self) -> None:
        """Fail the sequence that the thread is stuck with, and do what waits behind it on another thread.

        A thread cannot be stopped; this one ends when the library returns, if ever.
        """
        assert self._lane is not None
        stuck, self._lane = self._lane, None
        stuck.left_behind = True
        stuck.put(None)
        rest = [item for item in self._open if not item.ready.done()]
        if stuck.at is not None and stuck.at in rest:
            log.error("a mask was not ready within %.0f s; its sequence fails", PATIENCE)
            stuck.at.follower.error = "the grammar takes too long to follow"
            stuck.at.ready.set_result(None)
            rest.remove(stuck.at)
        self._hand_over(rest)

    def _work(self, news: Iterable[tuple[_Follower, tuple[int, ...]]]) -> None:
        items = []
        for follower, tokens in news:
            follower.ready = Future()
            items.append(_Item(follower, tokens, follower.ready))
        self._open = [item for item in self._open if not item.ready.done()] + items
        self._hand_over(items)

    def _hand_over(self, items: list[_Item]) -> None:
        if self._lane is None:
            self._lane = _Lane(self._follow)
        self._lane.put(items)

    # -- on the thread -----------------------------------------------------------------------------

    def _follow(self, lane: _Lane, items: list[_Item]) -> None:
        for item in items:
            if lane.left_behind:
                return
            lane.at = item
            follower = item.follower
            try:
                if follower.error is None and not follower.over:
                    self._step(follower, item.tokens)
            except Exception as error:
                follower.error = str(error) or type(error).__name__
                log.warning("structured output: %s", follower.error)
            if not lane.left_behind:
                item.ready.set_result(None)
            lane.at = None

    def _step(self, follower: _Follower, tokens: tuple[int, ...]) -> None:
        if follower.matcher is None:
            follower.matcher = self._matcher(follower)
        matcher, mask_W = follower.matcher, follower.mask_W
        for token in tokens:
            if not matcher.accept(token):
                raise GrammarError(f"token {token} was chosen, which the grammar does not allow")
        matcher.fill(mask_W)
        goes_on_W = mask_W & self._plain()
        follower.over = not goes_on_W.any()
        if follower.keep_on and not follower.over:
            mask_W[:] = goes_on_W

    def _matcher(self, follower: _Follower) -> Matcher:
        inner, vocabulary = follower.grammar.matcher(), self._source.vocabulary
        if not follower.spec.after:
            return inner
        after = follower.spec.after
        marker = self._markers.get(after)
        if marker is None:
            shown = vocabulary.showing(frozenset(vocabulary.specials))
            if len(self._markers) >= MAX_MARKERS:
                self._markers.clear()
            marker = self._markers[after] = Marker(after.encode(), shown)
        return AfterMatcher(inner, marker, vocabulary.stop_ids)

    def _plain(self) -> Mask:
        """All tokens but the stop ids."""
        if self._plain_W is None:
            bits = np.zeros(self._words * 32, np.uint8)
            bits[: self._source.vocabulary.size] = 1
            bits[list(self._source.vocabulary.stop_ids)] = 0
            self._plain_W = np.packbits(bits, bitorder="little").view(np.int32)
        return self._plain_W
