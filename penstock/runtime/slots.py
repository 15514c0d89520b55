"""What the body remembers of each sequence between steps, as arrays that are written in place.

Plans carry differences only; this table turns them back into whole sequences. Nothing is rebuilt per step.

Legend: S sequences of a step, B block-table columns.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from penstock.core.errors import StepFault
from penstock.core.plan import SlotInit, WorkItem
from penstock.runtime.sampler.params import SamplingTable, Uses

Ints = NDArray[np.int64]


class SlotTable:
    """Known tokens, pages and sampling parameters of every resident sequence.

    A slot is *live* from its `SlotInit` until it is freed or a step that used it failed. A live slot may be
    *faulty*: its sequence cannot run (`fault_text` says why) and every item of it is answered with that
    error.

    Args:
        slots: sequences that can be resident at once.
        max_len: longest sequence, in tokens.
        page_size: tokens per block.
        blocks: blocks of the device tier; ids in tables must be below it.
        vocab_size: token ids must be below it.
    """

    def __init__(self, slots: int, max_len: int, page_size: int, blocks: int, vocab_size: int) -> None:
        self.max_len = max_len
        self.page_size = page_size
        self.blocks = blocks
        self.vocab_size = vocab_size
        # One column to spare: a token may be sampled after the last position that can be computed.
        # np.empty leaves the memory untouched until a sequence needs it.
        self.tokens = np.empty((slots, max_len + 1), np.int32)
        self.table = np.zeros((slots, -(-max_len // page_size)), np.int32)
        self.table_len = np.zeros(slots, np.int64)
        self.prompt_len = np.zeros(slots, np.int64)
        self.known = np.zeros(slots, np.int64)
        """Tokens that a plan may refer to: those on the host and the one that is still on the device."""
        self.landed = np.zeros(slots, np.int64)
        """Tokens whose value is in `tokens`; less than `known` while a sampled one is on the device."""
        self.epoch = np.zeros(slots, np.int64)
        """Counts descriptions of a slot, so that a late result does not touch its next owner."""
        self.live = np.zeros(slots, np.bool_)
        self.faulty = np.zeros(slots, np.bool_)
        self.fault_text: list[str] = [""] * slots
        self.request_ids: list[str] = [""] * slots
        self.sampling = SamplingTable(slots, vocab_size)

    def admit(self, init: SlotInit) -> None:
        """Describe a sequence in full (an upsert). What is wrong with the sequence makes its slot faulty.

        Raises:
            StepFault: the slot does not exist.
        """
        slot = init.slot
        if not 0 <= slot < len(self.live):
            raise StepFault(f"slot {slot} of request {init.request_id} is not one of {len(self.live)}")
        self.epoch[slot] += 1
        self.live[slot] = True
        self.faulty[slot] = False
        self.request_ids[slot] = init.request_id
        self.table_len[slot] = 0
        self.prompt_len[slot] = init.prompt_length
        self.known[slot] = self.landed[slot] = len(init.tokens)
        problem = self._take_tokens(slot, init.tokens) or self.sampling.put(slot, init.sampling, init.eos_ids)
        if problem:
            self.fail(slot, problem)
        elif init.grammar is not None:
            self.sampling.flags[slot] |= int(Uses.GRAMMAR)

    def _take_tokens(self, slot: int, tokens: tuple[int, ...]) -> str | None:
        if len(tokens) > self.max_len:
            return f"{len(tokens)} tokens exceed the context of {self.max_len}"
        try:
            ids = np.fromiter(tokens, np.int64, len(tokens))
        except (OverflowError, TypeError, ValueError):
            return "prompt: token ids must be integers"
        wrong = np.flatnonzero((ids < 0) | (ids >= self.vocab_size))
        if wrong.size:
            at = int(wrong[0])
            return f"prompt: token id {tokens[at]} at position {at} is outside 0..{self.vocab_size - 1}"
        self.tokens[slot, : len(ids)] = ids
        return None

    def fail(self, slot: int, why: str) -> None:
        """Answer every further item of this sequence with an error."""
        self.faulty[slot] = True
        self.fault_text[slot] = why

    def free(self, slots: Iterable[int]) -> None:
        """Forget sequences that left, or whose step failed."""
        for slot in slots:
            self.live[slot] = self.faulty[slot] = False
            self.sampling.drop(slot)

    def apply_tables(self, items: Iterable[WorkItem]) -> None:
        """Write the block-table entries that changed.

        Raises:
            StepFault: an entry lies outside the table or the pool.
        """
        for item in items:
            if item.table:
                end = item.table_from + len(item.table)
                entries = np.asarray(item.table, np.int64)
                if end > self.table.shape[1] or entries.min() < 0 or entries.max() >= self.blocks:
                    raise StepFault(f"block table of slot {item.slot} names pages that do not exist")
                self.table[item.slot, item.table_from : end] = entries
                self.table_len[item.slot] = end

    def check(self, slots_S: Ints, ends_S: Ints) -> None:
        """Verify that computing tokens up to ``ends_S`` refers to known tokens and given pages only.

        Raises:
            StepFault: it does not; names the first request concerned.
        """
        dead_S = ~self.live[slots_S]
        if dead_S.any():
            slot = int(slots_S[dead_S][0])
            raise StepFault(
                f"slot {slot} holds no sequence: it was freed or its step failed, describe it anew"
            )
        for ok_S, why in (
            (ends_S <= self.known[slots_S], "the plan goes beyond its known tokens"),
            (ends_S <= self.table_len[slots_S] * self.page_size, "its block table is too short"),
        ):
            if not ok_S.all():
                slot = int(slots_S[~ok_S][0])
                raise StepFault(f"request {self.request_ids[slot]!r} in slot {slot}: {why}")

    def promise(self, slots_R: Ints, positions_R: Ints) -> None:
        """Note that the token at each position is being sampled, so that the next plan may refer to it."""
        self.known[slots_R] = positions_R + 1
        self.landed[slots_R] = np.minimum(self.landed[slots_R], positions_R)

    def write(self, slots_R: Ints, positions_R: Ints, epochs_R: Ints, tokens_R: Ints) -> None:
        """Store sampled tokens, but not in slots that were described anew since."""
        same_R = self.epoch[slots_R] == epochs_R
        slots_R, positions_R, tokens_R = slots_R[same_R], positions_R[same_R], tokens_R[same_R]
        self.tokens[slots_R, positions_R] = tokens_R
        self.landed[slots_R] = positions_R + 1

    def history(self, slot: int, start: int, end: int) -> NDArray[np.int32]:
        """Tokens ``[start, end)`` of the slot, a view."""
        return self.tokens[slot, start:end]
