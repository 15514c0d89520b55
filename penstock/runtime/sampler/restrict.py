"""Choosing among what top_k, top_p and min_p leave; see `choose` for their definitions.

On CPU a row is first settled by its few most likely tokens, many rows at once. A row whose threshold may lie
below those is worked out alone, in time linear in the vocabulary. On CUDA, where asking for such rows would
stall the stream, all rows are sorted in full. All three ways give the same token.

Legend: R rows, V vocabulary, K most likely tokens of a row, X any number of tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from penstock.runtime.sampler.knobs import Knobs, argmax, rows_at_once
from penstock.runtime.sampler.noise import gumbel

UNIT = 2.0**44
"""Weight of the most likely token; 2**18 such still fit in an int64 sum with room to spare."""
LOOK = 256
"""How many of the most likely tokens to look at first."""
SORTED_WHOLE = 1024
"""Up to this vocabulary a full sort is as cheap as a look."""


def choose_restricted(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Gumbel-max over what the thresholds of each row leave.

    Args:
        logits_RV: float32, no NaN.
        knobs: of rows that all have a temperature above 0.
    """
    device, (rows, vocab) = logits_RV.device, logits_RV.shape
    look = vocab if device.type != "cpu" or vocab <= max(SORTED_WHOLE, LOOK) else LOOK
    tokens, settled = [], []
    step = rows_at_once(device, vocab)
    for i in range(0, rows, step):
        some = knobs.pick(np.arange(i, min(i + step, rows)))
        tokens_R, settled_R = _look(logits_RV[i : i + step], some, look)
        tokens.append(tokens_R)
        settled.append(settled_R)
    tokens_R = torch.cat(tokens)
    if look < vocab:
        for r in np.flatnonzero(~torch.cat(settled).numpy()):
            tokens_R[r] = _choose_alone(logits_RV[r], knobs.pick(np.array([r])))
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
        if not whole and not (knobs.top_k > 0).all():
            every_R1 = _mass(logits_RV, best_R1, temperature_R1).sum(dim=1, keepdim=True)
            total_R1 = torch.where(top_k_R1 > 0, total_R1, every_R1)
        before_RK = mass_RK.cumsum(dim=1).sub_(mass_RK)
        kept_RK = before_RK.double() < total_R1.double() * knobs.column("top_p", device)
        count_R1 = kept_RK.sum(dim=1, keepdim=True).clamp_(1, look)
        # A row without top_p keeps even tokens too rare to be counted.
        count_R1 = torch.where(knobs.column("top_p", device) < 1, count_R1, look)
        floor_R1 = torch.maximum(floor_R1, top_RK.gather(1, count_R1 - 1))
    if (knobs.min_p > 0).any():
        rare_RK = top_RK.double() < _lowest(best_R1, temperature_R1, knobs.column("min_p", device))
        count_R1 = (~rare_RK).sum(dim=1, keepdim=True).clamp_(1, look)
        floor_R1 = torch.maximum(floor_R1, top_RK.gather(1, count_R1 - 1))
    return floor_R1, sure_R


def _mass(logits_RX: Tensor, best_R1: Tensor, temperature_R1: Tensor) -> Tensor:
    """Probability of each token in 2**44ths of the most likely one's, int64."""
    scaled_RX = (logits_RX.double() - best_R1.double()).div_(temperature_R1)
    return scaled_RX.exp_().mul_(UNIT).long()


def _lowest(best_R1: Tensor, temperature_R1: Tensor, min_p_R1: Tensor) -> Tensor:
    """Logit of a token min_p times as likely as the best one, float64; minus infinity without min_p."""
    return torch.log(min_p_R1) * temperature_R1 + best_R1.double()


def _choose_alone(logits_V: Tensor, knobs: Knobs) -> Tensor:
    """Choose the token of one row by selection instead of sorting; ``knobs`` are those of the row."""
    device = logits_V.device
    temperature_1, best_1 = knobs.column("temperature", device)[0], logits_V.max().view(1)
    floor, top_k, top_p = float("-inf"), int(knobs.top_k[0]), float(knobs.top_p[0])
    if top_k:
        floor = float(np.partition(logits_V.numpy(), -top_k)[-top_k])
    kept_X = torch.nonzero((logits_V >= floor) & (logits_V > float("-inf")))[:, 0]
    if top_p < 1:
        alive_X = logits_V[kept_X]
        mass_X = _mass(alive_X, best_1, temperature_1)
        edge = _nucleus_edge(alive_X, mass_X, float(mass_X.sum()) * top_p)
        kept_X = kept_X[alive_X >= edge]
    if knobs.min_p[0] > 0:
        lowest_1 = _lowest(best_1, temperature_1, knobs.column("min_p", device)[0])
        kept_X = kept_X[logits_V[kept_X].double() >= lowest_1]
    scores_X = logits_V[kept_X].double().div_(temperature_1)
    scores_X.add_(gumbel(knobs.column("keys", device), kept_X[None])[0])
    return kept_X[scores_X.argmax()]


def _nucleus_edge(alive_X: Tensor, mass_X: Tensor, limit: float) -> float:
    """Smallest logit such that the tokens strictly above it weigh less than ``limit``: bisection by value."""
    above = 0
    low, high = float(alive_X.min()), float(alive_X.max())
    while low < high:
        upper_X = alive_X > (low + high) / 2
        weight = int(mass_X[upper_X].sum())
        if above + weight < limit:
            above += weight
            upper_X = ~upper_X
        alive_X, mass_X = alive_X[upper_X], mass_X[upper_X]
        low, high = float(alive_X.min()), float(alive_X.max())
    return low
