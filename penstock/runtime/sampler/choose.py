"""From adjusted logits to one token per row: temperature, then top_k, top_p, min_p, then Gumbel-max.

Definitions (those of vLLM and Hugging Face, with ties settled so that a result never depends on a sort's
whims):

* top_k keeps a token if fewer than k tokens are strictly more likely;
* top_p (Holtzman et al., 2020) keeps a token if the tokens strictly more likely than it have together less
  than p of the probability that top_k left;
* min_p (Nguyen et al., 2024) keeps a token if it is at least min_p times as likely as the most likely one.

Each of the three keeps what lies above some logit, so together they are one threshold per row. Probability is
counted in integers (2**44ths of the most likely token's), whose sums do not depend on the order of addition:
a row gets the same threshold alone or in any batch. Scores are float64, ``logit / temperature + noise``.

Legend: R rows, V vocabulary, K most likely tokens of a row looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from penstock.runtime.sampler.noise import gumbel, row_keys
from penstock.runtime.sampler.params import Floats, Ints, SamplingTable

_UNIT = 2.0**44
"""Weight of the most likely token; 2**18 such still fit in an int64 sum with room to spare."""
BLOCK = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Most [row, token] entries handled at once where float64 or int64 copies are made: bounds memory, suits
caches.
"""
_LOOK_CPU = (256, 4096)
"""How many of the most likely tokens to look at before the whole vocabulary is sorted."""


@dataclass(slots=True)
class Knobs:
    """Parameters of R rows, host vectors."""

    temperature: Floats
    top_k: Ints
    top_p: Floats
    min_p: Floats
    keys: Ints
    """Noise keys, see `noise.row_keys`."""

    @classmethod
    def gather(cls, table: SamplingTable, slots_R: Ints, positions_R: Ints) -> Knobs:
        """Collect the knobs of the given slots for tokens at the given positions."""
        return cls(
            table.temperature[slots_R],
            table.top_k[slots_R],
            table.top_p[slots_R],
            table.min_p[slots_R],
            row_keys(table.seed[slots_R], positions_R),
        )

    def pick(self, rows: Ints) -> Knobs:
        """The knobs of some of the rows."""
        return Knobs(*(getattr(self, field.name)[rows] for field in fields(self)))

    def column(self, name: str, device: torch.device) -> Tensor:
        """One knob as an ``[R, 1]`` tensor."""
        return torch.from_numpy(np.ascontiguousarray(getattr(self, name))).to(device)[:, None]


def rows_at_once(device: torch.device, vocab: int) -> int:
    """Rows of a block that keeps within `BLOCK`, at least one."""
    return max(1, BLOCK.get(device.type, BLOCK["cuda"]) // vocab)


def argmax(values_RV: Tensor) -> Tensor:
    """Index of the largest value of each row, the lowest one among equals on CPU; int64."""
    if values_RV.device.type == "cpu":
        return torch.from_numpy(values_RV.numpy().argmax(axis=1))
    return values_RV.argmax(dim=1)


def choose(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Return the token of each row, int64 on the logits' device. Logits may be minus infinity, not NaN."""
    greedy_R = knobs.temperature <= 0
    if greedy_R.all():
        return argmax(logits_RV)
    restricted_R = ~greedy_R & ((knobs.top_k > 0) | (knobs.top_p < 1) | (knobs.min_p > 0))
    tokens_R = torch.empty(len(logits_RV), dtype=torch.int64, device=logits_RV.device)
    for rows_R, chooser in (
        (greedy_R, lambda logits, _: argmax(logits)),
        (~greedy_R & ~restricted_R, _choose_any),
        (restricted_R, _choose_restricted),
    ):
        rows = np.flatnonzero(rows_R)
        if rows.size == len(greedy_R):
            return chooser(logits_RV, knobs)
        if rows.size:
            at = torch.from_numpy(rows).to(logits_RV.device)
            tokens_R[at] = chooser(logits_RV[at], knobs.pick(rows))
    return tokens_R


def _choose_any(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Gumbel-max over the whole vocabulary."""
    device, (rows, vocab) = logits_RV.device, logits_RV.shape
    ids_1V = torch.arange(vocab, device=device)[None]
    keys_R1, temperature_R1 = knobs.column("keys", device), knobs.column("temperature", device)
    tokens = []
    step = rows_at_once(device, vocab)
    for i in range(0, rows, step):
        scores_RV = logits_RV[i : i + step].double().div_(temperature_R1[i : i + step])
        tokens.append(argmax(scores_RV.add_(gumbel(keys_R1[i : i + step], ids_1V))))
    return torch.cat(tokens)


def _choose_restricted(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Gumbel-max over what the thresholds leave; most rows are settled by their few most likely tokens."""
    device, (rows, vocab) = logits_RV.device, logits_RV.shape
    tokens_R = torch.empty(rows, dtype=torch.int64, device=device)
    open_rows = np.arange(rows)
    # On CUDA asking whether rows are left would stall the stream; sorting all is cheaper.
    looks = [k for k in _LOOK_CPU if k < vocab] if device.type == "cpu" else []
    for look in [*looks, vocab]:
        left = []
        step = rows_at_once(device, vocab)
        for i in range(0, len(open_rows), step):
            some = open_rows[i : i + step]
            at = torch.from_numpy(some).to(device)
            picked_R, settled_R = _look(logits_RV[at], knobs.pick(some), look)
            if look == vocab:
                tokens_R[at] = picked_R
                continue
            tokens_R[at[settled_R]] = picked_R[settled_R]
            left.append(some[~settled_R.numpy()])
        open_rows = np.concatenate(left) if left else open_rows[:0]
        if not open_rows.size:
            break
    return tokens_R


def _look(logits_RV: Tensor, knobs: Knobs, look: int) -> tuple[Tensor, Tensor]:
    """Choose among the ``look`` most likely tokens.

    Returns:
        The tokens, and for which rows the threshold lies above everything that was not looked at.
    """
    device, vocab = logits_RV.device, logits_RV.shape[1]
    if look == vocab:
        top_RK, ids_RK = logits_RV.sort(dim=1, descending=True, stable=True)
    else:
        top_RK, ids_RK = logits_RV.topk(look, dim=1)
    temperature_R1 = knobs.column("temperature", device)
    floor_R1, sure_R = _threshold(logits_RV, top_RK, temperature_R1, knobs)
    settled_R = sure_R & (floor_R1[:, 0] > top_RK[:, -1]) if look < vocab else torch.ones_like(sure_R)
    scores_RK = top_RK.double().div_(temperature_R1)
    scores_RK.add_(gumbel(knobs.column("keys", device), ids_RK))
    scores_RK.masked_fill_(top_RK < floor_R1, float("-inf"))
    return ids_RK.gather(1, argmax(scores_RK)[:, None])[:, 0], settled_R


def _threshold(
    logits_RV: Tensor, top_RK: Tensor, temperature_R1: Tensor, knobs: Knobs
) -> tuple[Tensor, Tensor]:
    """Smallest logit that survives top_k, top_p and min_p, as far as the K most likely tokens can tell.

    Returns:
        The threshold ``[R, 1]``, and whether no tie at the end of the K tokens may have falsified it ``[R]``.
    """
    device, look = top_RK.device, top_RK.shape[1]
    whole = look == logits_RV.shape[1]
    best_R1, last_R1 = top_RK[:, :1], top_RK[:, -1:]
    floor_R1 = torch.full_like(best_R1, float("-inf"))
    sure_R = torch.ones(len(top_RK), dtype=torch.bool, device=device)
    with_k = bool((knobs.top_k > 0).any())
    top_k_R1 = knobs.column("top_k", device)
    if with_k:
        kth_R1 = top_RK.gather(1, (top_k_R1 - 1).clamp(0, look - 1))
        floor_R1 = torch.where(top_k_R1 > 0, kth_R1, floor_R1)
        if not whole:
            sure_R = (top_k_R1 == 0)[:, 0] | (kth_R1 > last_R1)[:, 0]
    if (knobs.top_p < 1).any():
        mass_RK = _mass(top_RK, best_R1, temperature_R1)
        if with_k:
            mass_RK.masked_fill_(top_RK < floor_R1, 0)
        total_R1 = mass_RK.sum(dim=1, keepdim=True)
        if not whole:
            every_R1 = _mass(logits_RV, best_R1, temperature_R1).sum(dim=1, keepdim=True)
            total_R1 = torch.where(top_k_R1 > 0, total_R1, every_R1)
        before_RK = mass_RK.cumsum(dim=1).sub_(mass_RK)
        kept_RK = before_RK.double() < total_R1.double() * knobs.column("top_p", device)
        count_R1 = kept_RK.sum(dim=1, keepdim=True).clamp_(1, look)
        # A row without top_p keeps even tokens too rare to be counted.
        count_R1 = torch.where(knobs.column("top_p", device) < 1, count_R1, look)
        floor_R1 = torch.maximum(floor_R1, top_RK.gather(1, count_R1 - 1))
    if (knobs.min_p > 0).any():
        lowest_R1 = torch.log(knobs.column("min_p", device)) * temperature_R1 + best_R1.double()
        rare_RK = top_RK.double() < lowest_R1
        count_R1 = (~rare_RK).sum(dim=1, keepdim=True).clamp_(1, look)
        floor_R1 = torch.maximum(floor_R1, top_RK.gather(1, count_R1 - 1))
    return floor_R1, sure_R


def _mass(logits_RX: Tensor, best_R1: Tensor, temperature_R1: Tensor) -> Tensor:
    """Probability of each token in 2**44ths of the most likely one's, int64."""
    scaled_RX = (logits_RX.double() - best_R1.double()).div_(temperature_R1)
    return scaled_RX.exp_().mul_(_UNIT).long()
