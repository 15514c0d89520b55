"""Leaves only what grammars allow: bit masks over the vocabulary, applied to the rows that have one.

Legend: R sampled rows, X rows with a mask, V vocabulary, W int32 words of a mask (bit i, little end first,
allows token i).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MINUS_INF = float("-inf")


def restrain(logits_RV: Tensor, rows_X: list[int], masks_XW: NDArray[np.int32]) -> None:
    """Set what is not allowed to minus infinity, in place.

    Args:
        logits_RV: float32.
        rows_X: the rows to be masked, in order.
        masks_XW: their masks.
    """
    if not rows_X:
        return
    vocab, device = logits_RV.shape[1], logits_RV.device
    if device.type == "cpu":
        bits_XV = np.unpackbits((~masks_XW).view(np.uint8), axis=1, count=vocab, bitorder="little")
        forbidden_XV = torch.from_numpy(bits_XV.view(np.bool_))
        if len(rows_X) == len(logits_RV):
            logits_RV.masked_fill_(forbidden_XV, _MINUS_INF)
            return
        for x, r in enumerate(rows_X):
            logits_RV[r].masked_fill_(forbidden_XV[x], _MINUS_INF)
        return
    host_XW = torch.from_numpy(masks_XW)
    words_XW = host_XW.pin_memory().to(device, non_blocking=True)
    bits_32 = torch.arange(32, dtype=torch.int32, device=device)
    forbidden_XV = ((words_XW[:, :, None] >> bits_32) & 1).flatten(1)[:, :vocab] == 0
    rows = torch.tensor(rows_X).pin_memory().to(device, non_blocking=True)
    logits_RV[rows] = logits_RV[rows].masked_fill(forbidden_XV, _MINUS_INF)
