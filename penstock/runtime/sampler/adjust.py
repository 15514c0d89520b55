"""What rewrites logits before a token is chosen: penalties, bias, masks, in this order.

* repetition penalty (Keskar et al., CTRL, 2019, as in Hugging Face): logits of the distinct tokens of
  prompt and output are divided by it if positive, multiplied if not;
* frequency and presence penalties (OpenAI): ``count * frequency + presence`` is taken off the logits of
  generated tokens;
* logit_bias is added;
* masks set to minus infinity: what allowed_token_ids leaves out, last tokens of bad words whose beginning has
  just been written (prompt included, as in Hugging Face), eos and stop ids before min_tokens.

All arithmetic is elementwise in float32 and only the entries concerned are touched, so a row never depends
on others.

Legend: R sampled rows, V vocabulary, X entries touched (flat index ``row * V + token``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.runtime.sampler.params import NO_IDS, Ints, Sparse, Uses

if TYPE_CHECKING:
    from penstock.runtime.slots import SlotTable

MINUS_INF = float("-inf")


def adjust(logits_RV: Tensor, slots_R: Ints, positions_R: Ints, table: SlotTable) -> None:
    """Apply every feature that a row asks for, in place.

    Args:
        logits_RV: float32 and contiguous.
        slots_R: slot of each row.
        positions_R: absolute position of the token to be chosen; tokens before it must have landed.
        table: parameters and tokens.
    """
    flags_R = table.sampling.flags[slots_R]
    flags = int(np.bitwise_or.reduce(flags_R)) if len(flags_R) else 0
    rows = _Rows(slots_R, positions_R, flags_R, table)
    if flags & Uses.PENALTY:
        _penalise(logits_RV, rows)
    if flags & Uses.BIAS:
        _bias(logits_RV, rows)
    if flags & Uses.ALLOWED:
        _keep_allowed(logits_RV, rows)
    if flags & Uses.BAD_WORDS:
        _fill(logits_RV, [(r, _forbidden(rows, r, sparse)) for r, sparse in rows.using(Uses.BAD_WORDS)])
    if flags & Uses.MIN_TOKENS:
        generated_R = positions_R - table.prompt_len[slots_R]
        early_R = generated_R < table.sampling.min_tokens[slots_R]
        _fill(logits_RV, [(r, s.stops) for r, s in rows.using(Uses.MIN_TOKENS) if early_R[r]])


class _Rows:
    """The rows of one call, with the records and histories of those that use a feature."""

    def __init__(self, slots_R: Ints, positions_R: Ints, flags_R: Ints, table: SlotTable) -> None:
        self.slots_R, self.positions_R, self.flags_R, self.table = slots_R, positions_R, flags_R, table

    def using(self, feature: Uses) -> Iterator[tuple[int, Sparse]]:
        for r in np.flatnonzero(self.flags_R & int(feature)):
            sparse = self.table.sampling.sparse[self.slots_R[r]]
            if sparse is not None:
                yield int(r), sparse

    def generated(self, r: int) -> NDArray[np.int32]:
        slot = int(self.slots_R[r])
        return self.table.history(slot, int(self.table.prompt_len[slot]), int(self.positions_R[r]))

    def seen(self, r: int, sparse: Sparse, generated_ids: Ints) -> Ints:
        """Distinct ids of prompt and output; those of the prompt are found once."""
        if sparse.prompt_seen is None:
            slot = int(self.slots_R[r])
            prompt = self.table.history(slot, 0, int(self.table.prompt_len[slot]))
            sparse.prompt_seen = np.unique(prompt).astype(np.int64)
        return np.union1d(sparse.prompt_seen, generated_ids)


def _flat(pairs: list[tuple[int, Ints]], vocab: int, device: torch.device) -> Tensor:
    """Flat indices of the given ids of each row."""
    parts = [r * vocab + ids for r, ids in pairs]
    return torch.from_numpy(np.concatenate(parts) if parts else NO_IDS).to(device)


def _spread(values: list[float], pairs: list[tuple[int, Ints]], like: Tensor) -> Tensor:
    """One value per row, repeated for each of its ids."""
    spread = np.repeat(np.array(values, np.float32), [len(ids) for _, ids in pairs])
    return torch.from_numpy(spread).to(like.device)


def _penalise(logits_RV: Tensor, rows: _Rows) -> None:
    sampling, vocab = rows.table.sampling, logits_RV.shape[1]
    seen: list[tuple[int, Ints]] = []
    written: list[tuple[int, Ints]] = []
    factors: list[float] = []
    taken: list[NDArray[np.float32]] = []
    for r, sparse in rows.using(Uses.PENALTY):
        slot = rows.slots_R[r]
        ids, counts = np.unique(rows.generated(r).astype(np.int64), return_counts=True)
        if sampling.repetition[slot] != 1:
            seen.append((r, rows.seen(r, sparse, ids)))
            factors.append(float(sampling.repetition[slot]))
        if sampling.frequency[slot] or sampling.presence[slot]:
            written.append((r, ids))
            taken.append((counts * sampling.frequency[slot] + sampling.presence[slot]).astype(np.float32))
    logits_X = logits_RV.view(-1)
    if seen:
        at_X = _flat(seen, vocab, logits_RV.device)
        factor_X = _spread(factors, seen, logits_RV)
        old_X = logits_X[at_X]
        logits_X[at_X] = torch.where(old_X > 0, old_X / factor_X, old_X * factor_X)
    if written:
        at_X = _flat(written, vocab, logits_RV.device)
        logits_X[at_X] -= torch.from_numpy(np.concatenate(taken)).to(logits_RV.device)


def _bias(logits_RV: Tensor, rows: _Rows) -> None:
    biased = [(r, sparse.bias_ids) for r, sparse in rows.using(Uses.BIAS)]
    values = [sparse.bias_values for _, sparse in rows.using(Uses.BIAS)]
    at_X = _flat(biased, logits_RV.shape[1], logits_RV.device)
    logits_RV.view(-1)[at_X] += torch.from_numpy(np.concatenate(values)).to(logits_RV.device)


def _keep_allowed(logits_RV: Tensor, rows: _Rows) -> None:
    allowed = [(r, sparse.allowed) for r, sparse in rows.using(Uses.ALLOWED)]
    at_X = _flat(allowed, logits_RV.shape[1], logits_RV.device)
    logits_X = logits_RV.view(-1)
    kept_X = logits_X[at_X]
    logits_RV[torch.tensor([r for r, _ in allowed], device=logits_RV.device)] = MINUS_INF
    logits_X[at_X] = kept_X


def _forbidden(rows: _Rows, r: int, sparse: Sparse) -> Ints:
    """Last ids of the bad words whose other ids end the text so far."""
    slot, end = int(rows.slots_R[r]), int(rows.positions_R[r])
    banned = []
    for word in sparse.bad_words:
        start = end - (len(word) - 1)
        if start >= 0 and np.array_equal(rows.table.history(slot, start, end), word[:-1]):
            banned.append(word[-1])
    return np.array(banned, np.int64)


def _fill(logits_RV: Tensor, masked: list[tuple[int, Ints]]) -> None:
    logits_RV.view(-1)[_flat(masked, logits_RV.shape[1], logits_RV.device)] = MINUS_INF
