"""The sampler: logits of the sampled rows to one token per row, each row by its own slot's parameters.

Order of treatment: what a grammar allows (`restrain`; log-probabilities are of what it leaves) -> penalties,
bias, masks (`adjust`) -> temperature -> top_k -> top_p -> min_p ->
Gumbel-max (`choose`). Every operation is row by row or elementwise, so the token of a row is the same alone
and in any batch.

Legend: R sampled rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from penstock.core.output import UNSATISFIABLE
from penstock.core.plan import TokenLogprobs
from penstock.runtime.grammar.masks import GrammarMasks, Masks
from penstock.runtime.sampler.adjust import adjust
from penstock.runtime.sampler.choose import choose
from penstock.runtime.sampler.draw import Draw, draw_plain
from penstock.runtime.sampler.knobs import Knobs, argmax
from penstock.runtime.sampler.logprobs import score
from penstock.runtime.sampler.params import Ints, Uses
from penstock.runtime.sampler.restrain import Restrain, restrain_plain
from penstock.runtime.slots import SlotTable

FAULTS = {
    1: "model produced non-finite logits",
    2: f"{UNSATISFIABLE}allowed_token_ids, bad_words, min_tokens and a grammar leave no token to choose",
    3: "structured output: the grammar could not be followed",
}
"""Why a row could not be sampled, by the code in `Sampled.fault_R`."""


@dataclass(slots=True)
class Sampled:
    """Outcome of one call; tensors are on the logits' device and may still be in the making."""

    tokens_R: Tensor
    """int64; arbitrary but within the vocabulary where a row has a fault."""
    fault_R: Tensor
    """int8; 0 or a key of `FAULTS`."""
    logprobs: Callable[[], dict[int, TokenLogprobs]]
    """Scores of the rows that asked for them, by row; computed when called."""
    over: dict[int, int] = field(default_factory=dict)
    """Rows whose grammar allows nothing more -> the stop id chosen for them, -1 without one."""


class Sampler:
    """Chooses tokens by the parameters kept in a slot table.

    Args:
        table: parameters and tokens of all slots.
        grammars: masks of the sequences that have a grammar, if any may.
        draw: chooses for rows without thresholds.
        restrain: leaves what grammars allow.
    """

    def __init__(
        self,
        table: SlotTable,
        grammars: GrammarMasks | None = None,
        draw: Draw = draw_plain,
        restrain: Restrain = restrain_plain,
    ) -> None:
        self.table = table
        self._draw = draw
        self._restrain = restrain
        self.grammars = grammars

    def uses(self, slots_R: Ints) -> Uses:
        """Which features any of these slots asks for."""
        return Uses(int(np.bitwise_or.reduce(self.table.sampling.flags[slots_R])) if len(slots_R) else 0)

    def __call__(self, logits_RV: Tensor, slots_R: Ints, positions_R: Ints) -> Sampled:
        """Choose the token at each position.

        Args:
            logits_RV: float32, contiguous; overwritten.
            slots_R: slot of each row.
            positions_R: absolute position of the token to be chosen (the row's own position plus one).
        """
        uses = self.uses(slots_R)
        fault_R = _silence_non_finite(logits_RV)
        masks = None
        if uses & Uses.GRAMMAR and self.grammars is not None:
            masks = self.grammars.take(slots_R.tolist())
        if masks is not None:
            self._restrain(logits_RV, masks.rows_X, masks.masks_XW)
        scored = np.flatnonzero(self.table.sampling.flags[slots_R] & int(Uses.LOGPROBS))
        raw_XV = logits_RV[torch.from_numpy(scored).to(logits_RV.device)] if scored.size else None
        if uses & Uses.ADJUST:
            adjust(logits_RV, slots_R, positions_R, self.table)
            fault_R[(logits_RV.amax(dim=1) == float("-inf")) & (fault_R == 0)] = 2
        if uses & Uses.NOISE:
            tokens_R = choose(logits_RV, Knobs.gather(self.table.sampling, slots_R, positions_R), self._draw)
        else:
            tokens_R = argmax(logits_RV)
        over = {} if masks is None else masks.over
        if masks is not None:
            _settle(masks, tokens_R, fault_R)
        tops = self.table.sampling.logprobs[slots_R[scored]].tolist()

        def logprobs() -> dict[int, TokenLogprobs]:
            if raw_XV is None:
                return {}
            own_X = tokens_R[torch.from_numpy(scored).to(tokens_R.device)]
            return dict(zip(scored.tolist(), score(raw_XV, own_X, tops), strict=True))

        return Sampled(tokens_R, fault_R, logprobs, over)


def _settle(masks: Masks, tokens_R: Tensor, fault_R: Tensor) -> None:
    """Write what is not chosen: the ends of finished grammars, whatever else was asked for; the failures."""
    if masks.over:
        rows = torch.tensor(list(masks.over), device=tokens_R.device)
        tokens_R[rows] = torch.tensor([max(0, stop) for stop in masks.over.values()], device=tokens_R.device)
        fault_R[rows] = 0
    if masks.failed:
        fault_R[torch.tensor(masks.failed, device=fault_R.device)] = 3


def _silence_non_finite(logits_RV: Tensor) -> Tensor:
    """Zero the rows that hold NaN or infinity and return their fault codes."""
    if logits_RV.device.type == "cpu":
        # A finite sum proves a finite row; overflow of a finite row's sum costs only the second look.
        suspect_R = ~torch.isfinite(logits_RV.sum(dim=1))
        if not suspect_R.any():
            return torch.zeros(len(logits_RV), dtype=torch.int8)
    bad_R = ~torch.isfinite(logits_RV).all(dim=1)
    logits_RV.masked_fill_(bad_R[:, None], 0.0)
    return bad_R.to(torch.int8)
