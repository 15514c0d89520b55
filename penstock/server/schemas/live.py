"""What ``/live/state`` and ``/live/events`` tell: the engine as it is now, each figure with its unit.

An event is the JSON of a `LiveState`. The first one of a stream, and the answer of ``/live/state``, tell the
newest steps; later events tell those that came since the one before, by rising ``ticket`` (a step may be told
twice; after a restart, seen by ``restarts``, tickets begin anew).
"""

from __future__ import annotations

from msgspec import Struct

from penstock.observe.window import Percentiles


class Latency(Struct, frozen=True, kw_only=True):
    """Percentiles over the last `window` seconds, each in seconds, as the server measured them."""

    window: float
    ttft: Percentiles
    """Arrival of the request to its first token, one value per answer."""
    tpot: Percentiles
    """Mean time per token after the first, one value per finished answer."""
    queue: Percentiles
    """Arrival at the engine to the first step that it took part in."""
    e2e: Percentiles
    """Arrival of the request to its last token."""


class Tenant(Struct, frozen=True):
    """What one tenant has in the engine. The name ``(other)`` stands for all that are not named."""

    tenant: str
    running: int
    """Sequences that hold memory and are stepped."""
    waiting: int
    """Sequences that wait for admission."""


class Throughput(Struct, frozen=True, kw_only=True):
    """Averages over the last `window` seconds."""

    window: float
    prompt_computed: float
    """Prompt tokens computed, tokens per second."""
    prompt_cached: float
    """Prompt tokens taken from the prefix cache, tokens per second."""
    generated: float
    """Tokens generated, tokens per second."""
    device_busy: float
    """Share of the time that the executor worked, 0 to 1."""


class Blocks(Struct, frozen=True, kw_only=True):
    """KV blocks of the device by state: ``free + cached + in_use == total``."""

    page_size: int
    """Tokens that one block holds."""
    total: int
    free: int
    """Holding nothing."""
    cached: int
    """Holding prefixes that nobody uses now; can be taken at once."""
    in_use: int
    """Held by sequences or pins."""
    pinned: int
    """Of those in use, kept for programs and groups that are expected back."""


class PrefixCache(Struct, frozen=True, kw_only=True):
    """What the prefix cache saved, in prompt tokens at admission."""

    looked_up: int
    """Since the engine was started."""
    found: int
    hit_rate: float | None
    """found / looked_up, 0 to 1; None before the first lookup."""
    recent_hit_rate: float | None
    """The same over `Throughput.window`; None when nothing was looked up in it."""


class Step(Struct, frozen=True, kw_only=True):
    """One step of the engine."""

    ticket: int
    """Its number since the engine was started."""
    start: float
    """Unix seconds at which it was handed to the executor."""
    seconds: float
    """From then until its result was taken in."""
    device_seconds: float
    """Of these, seconds that the executor worked."""
    host_seconds: float
    """Seconds that the scheduler spent on planning it and taking it in."""
    prefill_tokens: int
    decode_tokens: int
    rows: int
    """Tokens computed, prefill and decode."""
    sequences: int
    running: int
    """Sequences running when it ended."""
    waiting: int
    """Sequences waiting when it ended."""
    blocks: int
    """KV blocks in use when it ended."""


class EngineState(Struct, frozen=True, kw_only=True):
    """What the engine told last."""

    age: float
    """Seconds since it told so. Above a second when a step takes that long, or the engine hangs."""
    running: int
    waiting: int
    tenants: list[Tenant]
    """Those with most sequences first, at most 17 entries."""
    throughput: Throughput
    blocks: Blocks
    prefix_cache: PrefixCache
    submitted: int
    """Sequences taken in since the engine was started; so are the following, counted since then."""
    finished: dict[str, int]
    """Sequences ended, by reason: stop, length, abort, error."""
    preemptions: int
    """Sequences that lost their memory to others."""
    recomputed_tokens: int
    """Tokens computed again after that."""
    step_count: int
    failed_steps: int
    """Steps that failed and were tried again without the suspects."""
    steps: list[Step]
    """The newest steps, oldest first, at most 128."""


class LiveState(Struct, frozen=True, kw_only=True):
    """Everything that the live view shows."""

    at: float
    """Unix seconds of this snapshot."""
    started: float
    """Unix seconds of the server's start."""
    uptime: float
    """Seconds since then."""
    model: str
    version: str
    status: str
    """ready, draining, restarting, dead or closed."""
    cause: str
    """Why the engine is restarting or dead, or why it last died; empty if it never did."""
    restarts: int
    """Times that the engine was started again."""
    requests: int
    """HTTP generation requests whose answer is not complete."""
    policies: dict[str, str]
    """Policy by slot: order, shape, preempt, evict, admit, reserve, retain."""
    latency: Latency
    engine: EngineState | None
    """None while no engine has told anything (restarting, dead)."""
