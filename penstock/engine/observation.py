"""What the engine tells those who watch it: steps, tenants, rates. Filled in by `steps.StepRecorder`."""

from __future__ import annotations

import msgspec

from penstock.core.output import EngineStats


class StepRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step that was run. Times are engine-clock seconds."""

    ticket: int
    """Number of the step since the engine was started; the next one's is one higher."""
    start: float
    """When it was handed to the executor."""
    seconds: float
    """From there until its result was taken in."""
    device: float
    """Of these, seconds that the executor worked on it."""
    host: float
    """Seconds that planning it and taking its result in took."""
    prefill_tokens: int
    """Rows that are prompt tokens (or are computed again)."""
    decode_tokens: int
    """Rows of sequences that generate."""
    sequences: int
    running: int
    """Sequences that held memory when it landed."""
    waiting: int
    """Sequences that waited for admission then."""
    blocks: int
    """KV blocks in use by sequences then."""


class TenantLoad(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one tenant has in the engine at this moment, in sequences."""

    tenant: str
    running: int
    waiting: int


class Rates(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Averages over the last `seconds` seconds: tokens per second but for the last."""

    seconds: float
    prompt_computed: float
    """Prompt tokens computed."""
    prompt_cached: float
    """Prompt tokens found in the prefix cache."""
    prompt_looked_up: float
    """Prompt tokens looked up in the prefix cache."""
    generated: float
    device: float
    """Share of the time that the executor worked, 0 to 1."""


class Seconds(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A histogram of durations, since the engine was started."""

    bounds: tuple[float, ...]
    """Upper bounds in seconds, rising; what is above the last one is in one class more."""
    counts: tuple[int, ...]
    """Entries by class (not cumulative), one more than bounds."""
    total: float
    """Sum of all entries, seconds."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be seen of an engine at one moment."""

    now: float
    """Engine-clock seconds."""
    stats: EngineStats
    tenants: tuple[TenantLoad, ...] = ()
    """Those with most sequences first; the last may be `observe.labels.OTHER`, the sum of the rest."""
    rates: Rates
    step_seconds: Seconds
    """`StepRecord.device` of all steps."""
    host_seconds: Seconds
    """`StepRecord.host` of all steps."""
    failed_steps: int = 0
    """Steps that failed as a whole and were tried again without the suspects."""
    admitted: int = 0
    """Admissions to a slot, those after a preemption included."""
    steps: tuple[StepRecord, ...] = ()
    """The newest of those asked for, oldest first."""
