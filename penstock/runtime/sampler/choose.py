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

from penstock.runtime.sampler.draw import Draw, draw_plain
from penstock.runtime.sampler.knobs import Knobs, argmax
from penstock.runtime.sampler.restrict import choose_restricted


def choose(logits_RV: Tensor, knobs: Knobs, draw: Draw = draw_plain) -> Tensor:
    """Return the token of each row, int64 on the logits' device.

    Args:
        logits_RV: float32; may be minus infinity, not NaN.
        knobs: of the rows.
        draw: chooses for rows without thresholds.
    """
    greedy_R = knobs.temperature <= 0
    if greedy_R.all():
        return argmax(logits_RV)
    restricted_R = ~greedy_R & ((knobs.top_k > 0) | (knobs.top_p < 1) | (knobs.min_p > 0))
    tokens_R = torch.empty(len(logits_RV), dtype=torch.int64, device=logits_RV.device)
    for rows_R, chooser in (
        (greedy_R, lambda logits, _: argmax(logits)),
        (~greedy_R & ~restricted_R, draw),
        (restricted_R, choose_restricted),
    ):
        rows = np.flatnonzero(rows_R)
        if rows.size == len(greedy_R):
            return chooser(logits_RV, knobs)
        if rows.size:
            at = torch.from_numpy(rows).to(logits_RV.device)
            tokens_R[at] = chooser(logits_RV[at], knobs.pick(rows))
    return tokens_R
