"""Forwards of one fixed size: long prompts are split, short ones fused, decodes ride along."""

from __future__ import annotations

from penstock.core.policy import EngineView, StepShape
from penstock.policies.registry import register


@register("shape", "splitfuse")
class SplitFuse:
    """Dynamic SplitFuse: decodes first, then prompts in their order, the unfinished one before new ones.

    The time of a forward depends on its tokens and throughput is concave in them, so equal forwards give the
    most. Source: Holmes et al., "DeepSpeed-FastGen" (2024), and DeepSpeed-MII's ragged batching. The
    mechanism supplies the rest: a prompt's last single token runs among the decodes, and order within a class
    is the order policy's.

    Args:
        tokens: size of a forward, at most the engine's ``max_num_batched_tokens``.
    """

    stall_free = True

    def __init__(self, tokens: int = 768) -> None:
        if int(tokens) != tokens or tokens < 1:
            raise ValueError(f"a forward has a whole number of tokens, at least 1; got {tokens}")
        self._tokens = int(tokens)

    def shape(self, view: EngineView) -> StepShape:
        """Return a mixed step of the fixed size."""
        return StepShape(tokens=self._tokens, prefill_tokens=self._tokens, chunk=self._tokens)
