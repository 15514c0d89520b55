"""Stall-free batching: decodes first, prompts in chunks beside them."""

from __future__ import annotations

from penstock.core.policy import EngineView, StepShape
from penstock.policies.registry import register


@register("shape", "chunked")
class Chunked:
    """Every running decode gets its row; prefill chunks fill what is left of the token budget.

    Source: Agrawal et al., "Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve"
    (OSDI 2024), section 4.

    Args:
        tokens: token budget of a step; 0 takes the engine's.
    """

    stall_free = True

    def __init__(self, tokens: int = 0) -> None:
        if tokens < 0:
            raise ValueError(f"the token budget cannot be negative, got {tokens}")
        self._tokens = tokens

    def shape(self, view: EngineView) -> StepShape:
        """Return a mixed step under the budget."""
        budget = self._tokens or view.token_budget
        return StepShape(tokens=budget, prefill_tokens=budget, chunk=budget)
