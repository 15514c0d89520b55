"""Leaves only what grammars allow: bit masks over the vocabulary, applied to the rows that have one.

Legend: R sampled rows, X rows with a mask, V vocabulary, W int32 words of a mask (bit i, little end first,
allows token i).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.kernels.native.library import library

Restrain = Callable[[Tensor, list[int], NDArray[np.int32]], None]
"""Sets what is not allowed to minus infinity, in place: float32 logits ``[R, V]``, the rows that have a mask,
in order, and their masks ``[X, W]``."""


def restrain_plain(logits_RV: Tensor, rows_X: list[int], masks_XW: NDArray[np.int32]) -> None:
    """Mask with torch, on any device."""
    if not rows_X:
        return
    vocab, device = logits_RV.shape[1], logits_RV.device
    if device.type == "cpu":
        bits_XV = np.unpackbits((~masks_XW).view(np.uint8), axis=1, count=vocab, bitorder="little")
        for r, forbidden_V in zip(rows_X, torch.from_numpy(bits_XV.view(np.bool_)), strict=True):
            logits_RV[r].masked_fill_(forbidden_V, float("-inf"))
        return
    words_XW = torch.from_numpy(masks_XW).pin_memory().to(device, non_blocking=True)
    bits_32 = torch.arange(32, dtype=torch.int32, device=device)
    forbidden_XV = ((words_XW[:, :, None] >> bits_32) & 1).flatten(1)[:, :vocab] == 0
    rows = torch.tensor(rows_X).pin_memory().to(device, non_blocking=True)
    logits_RV[rows] = logits_RV[rows].masked_fill(forbidden_XV, float("-inf"))


def restrain_native(logits_RV: Tensor, rows_X: list[int], masks_XW: NDArray[np.int32]) -> None:
    """Mask with the kernel, which needs float32 logits on the CPU, contiguous in each row."""
    rows = np.asarray(rows_X, np.int64)
    library().ps_restrain(
        logits_RV.data_ptr(),
        logits_RV.shape[1],
        logits_RV.stride(0),
        rows.ctypes.data,
        len(rows),
        masks_XW.ctypes.data,
        masks_XW.shape[1],
    )
