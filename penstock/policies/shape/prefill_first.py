"""Whole prompts first; decodes wait while there are any."""

from __future__ import annotations

from penstock.core.policy import EngineView, StepShape
from penstock.policies.registry import register


@register("shape", "prefill-first")
class PrefillFirst:
    """Best TTFT and worst stalls: a step is either whole prompts or decodes.

    A prompt longer than the budget still has to be cut. Source: the iteration-level batching that
    Yu et al., "Orca" (OSDI 2022), and early vLLM used.
    """

    def shape(self, view: EngineView) -> StepShape:
        """Return an unmixed step, prefills before decodes."""
        budget = view.token_budget
        return StepShape(
            tokens=budget, prefill_tokens=budget, chunk=budget, decode_first=False, mix=False, split=False
        )
