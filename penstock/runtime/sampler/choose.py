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

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from penstock.runtime.sampler.knobs import Knobs, argmax, rows_at_once
from penstock.runtime.sampler.noise import gumbel
from penstock.runtime.sampler.restrict import choose_restricted


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
        (restricted_R, choose_restricted),
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
