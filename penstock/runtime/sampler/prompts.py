"""Scores of prompt tokens, in blocks of rows so that the logits of a long chunk never exist at once.

Legend: C rows of a chunk, E hidden size, B rows of a block, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.core.plan import TokenLogprobs
from penstock.runtime.sampler.logprobs import score

PROMPT_BLOCK_BYTES = 4 * 2**20
"""Size of the logits buffer of one block of prompt rows."""


def block_rows(vocab_size: int) -> int:
    """Rows whose float32 logits fit `PROMPT_BLOCK_BYTES`, at least one."""
    return max(1, PROMPT_BLOCK_BYTES // (4 * vocab_size))


def score_prompt(
    logits: Callable[[Tensor], Tensor],
    hidden_CE: Tensor,
    targets_C: NDArray[np.int32],
    tops: int,
    vocab_size: int,
) -> list[TokenLogprobs] | str:
    """Score the prompt token that each row predicts.

    Args:
        logits: the model's output head, ``[B, E] -> [B, V]`` float32.
        hidden_CE: final hidden states of the rows.
        targets_C: the token that follows each row.
        tops: how many of the most likely tokens to list.
        vocab_size: width of the logits.

    Returns:
        One score per row, or an error if the model's logits are not finite.
    """
    scores: list[TokenLogprobs] = []
    step = block_rows(vocab_size)
    for i in range(0, len(targets_C), step):
        logits_BV = logits(hidden_CE[i : i + step])
        if not torch.isfinite(logits_BV).all():
            return "model produced non-finite logits"
        targets_B = torch.from_numpy(targets_C[i : i + step].astype(np.int64)).to(logits_BV.device)
        scores += score(logits_BV, targets_B, [tops] * len(targets_B))
    return scores
