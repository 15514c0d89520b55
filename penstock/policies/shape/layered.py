"""Prefill split along layers instead of tokens, so that a mixture's experts are read once per prompt."""

from __future__ import annotations

from penstock.core.policy import EngineView, StepShape
from penstock.policies.registry import register

MANY = 64
"""Decodes that touch 95 % of a mixture's experts or more, for 8 of 128 a token."""


@register("shape", "layered")
class Layered:
    """Each step one group of layers runs prompts and decodes, all others run decodes only.

    A cohort of prompts is admitted when none is under way: first come first served until ``cohort`` tokens;
    a prompt that does not fit beside others waits, one that is longer is cut. It takes as many steps as the
    table has groups for its tokens, then samples its first tokens. Source: "From Tokens to Layers" (2025) and
    its code, whose table for 16 stages this is: up to 512 tokens 1, 1024 2, 2048 4, 4096 8, else all.

    The engine's ``max_num_batched_tokens`` bounds a cohort and the decodes beside it together.

    Args:
        stages: most groups that the layers are split into.
        cohort: most prompt tokens of a cohort.
        unit: most tokens that still pass all layers in one step; twice as many take two groups, and so on.
        decodes: with more sequences running than this, prompts go in chunks of ``unit`` through all layers,
            since so many decodes touch nearly every expert anyway; 0: no such limit.
    """

    stall_free = True

    def __init__(self, stages: int = 16, cohort: int = 8192, unit: int = 512, decodes: int = 0) -> None:
        for name, value, least in (("stages", stages, 1), ("cohort", cohort, 1), ("unit", unit, 1)):
            if int(value) != value or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value}")
        if decodes < 0:
            raise ValueError(f"decodes cannot be negative, got {decodes}")
        if unit > cohort:
            raise ValueError(f"unit ({unit}) cannot be larger than cohort ({cohort})")
        self._cohort, self._unit, self._decodes = cohort, unit, decodes
        self.beside_many = "" if decodes else f"layered(decodes={MANY})"
        groups = [1 << k for k in range(stages.bit_length()) if 1 << k < stages]
        self.table = (*((unit * n, n) for n in groups), (max(cohort, unit * stages), stages))

    def shape(self, view: EngineView) -> StepShape:
        """Return a step whose prefills form a cohort, or an ordinary one beside many decodes."""
        if self._decodes and view.running > self._decodes:
            return StepShape(tokens=view.token_budget, prefill_tokens=self._unit, chunk=self._unit)
        return StepShape(
            tokens=view.token_budget,
            prefill_tokens=self._cohort,
            chunk=self._cohort,
            split=False,
            stages=self.table,
        )
