"""Gumbel-max over a whole vocabulary: plainly, and by the compiled CPU kernel. Both give the same tokens.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from penstock.kernels.native.library import library
from penstock.runtime.sampler.knobs import Knobs, argmax, rows_at_once
from penstock.runtime.sampler.noise import gumbel

Draw = Callable[[Tensor, Knobs], Tensor]
"""From float32 logits ``[R, V]`` without NaN, and knobs of a temperature above 0, to int64 tokens."""


def draw_plain(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Choose with torch, on any device; some rows at a time, to bound memory."""
    device, (rows, vocab) = logits_RV.device, logits_RV.shape
    ids_1V = torch.arange(vocab, device=device)[None]
    keys_R1, temperature_R1 = knobs.column("keys", device), knobs.column("temperature", device)
    tokens = []
    step = rows_at_once(device, vocab)
    for i in range(0, rows, step):
        scores_RV = logits_RV[i : i + step].double().div_(temperature_R1[i : i + step])
        tokens.append(argmax(scores_RV.add_(gumbel(keys_R1[i : i + step], ids_1V))))
    return torch.cat(tokens)


def draw_native(logits_RV: Tensor, knobs: Knobs) -> Tensor:
    """Choose with the kernel, which needs float32 logits on the CPU."""
    logits_RV = logits_RV.contiguous()
    rows, vocab = logits_RV.shape
    temperature_R, keys_R = np.ascontiguousarray(knobs.temperature), np.ascontiguousarray(knobs.keys)
    tokens_R = torch.empty(rows, dtype=torch.int64)
    library().ps_gumbel_argmax(
        logits_RV.data_ptr(),
        rows,
        vocab,
        temperature_R.ctypes.data,
        keys_R.ctypes.data,
        tokens_R.data_ptr(),
    )
    return tokens_R
