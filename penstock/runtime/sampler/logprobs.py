"""Log-probabilities of the model itself: log-softmax of the raw logits, before penalties, masks and
temperature, but after a grammar: what it forbids was never a choice, and is not listed.

Legend: R rows, V vocabulary, T most likely tokens reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.core.plan import TokenLogprobs


def score(logits_RV: Tensor, tokens_R: Tensor, tops: Sequence[int]) -> list[TokenLogprobs]:
    """Score one token per row and list the most likely ones.

    A token's rank is one more than the number of strictly more likely tokens. Equal ones are listed by id.

    Args:
        logits_RV: float32 raw logits.
        tokens_R: int64, the token to score in each row.
        tops: how many of the most likely tokens to list for each row.
    """
    logprobs_RV = torch.log_softmax(logits_RV, dim=1)
    own_R1 = logprobs_RV.gather(1, tokens_R[:, None])
    ranks_R = (logprobs_RV > own_R1).sum(dim=1) + 1
    most = min(max(tops, default=0), logits_RV.shape[1])
    top_RT, ids_RT = logprobs_RV.topk(most, dim=1) if most else (own_R1[:, :0], tokens_R[:, None][:, :0])
    scored = []
    for token, own, rank, values, ids, wanted in zip(
        tokens_R.tolist(), own_R1[:, 0].tolist(), ranks_R.tolist(), top_RT.tolist(), ids_RT.tolist(), tops,
        strict=True,
    ):  # fmt: skip
        possible = ((i, value) for i, value in zip(ids, values, strict=True) if value > float("-inf"))
        ranked = sorted(possible, key=lambda pair: (-pair[1], pair[0]))
        scored.append(TokenLogprobs(token, own, rank, tuple(ranked[:wanted])))
    return scored
