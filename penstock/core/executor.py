"""The body that the brain drives: real, recorded, faked or simulated."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.core.plan import StepPlan, StepResult


class ExecutorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor can hold; the scheduler is built from it."""

    slots: int
    """Sequences that can be resident at once."""
    blocks: int
    """KV blocks in the device tier."""
    page_size: int
    """Tokens per block."""
    max_model_len: int
    """Longest sequence, prompt and output together."""
    vocab_size: int
    pipeline_depth: int = 0
    """Steps that may be in flight besides the one being collected; 0 is synchronous."""
    layers: int = 0
    """Layers of the model, if work items may name some of them (layered prefill); 0: they must not."""
    embedding_size: int = 0
    """Length of a pooled prompt's vector; 0: prompts cannot be pooled."""
    cache_fingerprint: str = ""
    """Salt of the prefix cache: model, weights, KV format. Blocks are shared only under equal salts."""


class Executor(Protocol):
    """Runs plans strictly in ticket order."""

    def spec(self) -> ExecutorSpec:
        """Return the capacities; constant for the executor's life."""
        ...

    def submit(self, plan: StepPlan) -> int:
        """Start the plan and return its ticket.

        Raises:
            StepFault: nothing of this plan was or will be run.
        """
        ...

    def collect(self, ticket: int) -> StepResult:
        """Wait for the oldest submitted plan and return its result.

        Raises:
            StepFault: the step failed as a whole; its slots must be described anew before their next use.
        """
        ...

    def close(self) -> None:
        """Release devices and processes; idempotent."""
        ...
