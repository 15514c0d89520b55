"""Live states as the server sends them, built from its own structs, so that a renamed field fails here."""

import msgspec

from penstock.observe.window import Percentiles
from penstock.server.schemas import live

START = 1_700_000_000.0


def step(ticket, at):
    return live.Step(
        ticket=ticket, start=at, seconds=0.02, device_seconds=0.015, host_seconds=0.001,
        prefill_tokens=32 if ticket % 4 == 0 else 0, decode_tokens=6, rows=38, sequences=6,
        running=6, waiting=5, blocks=50,
    )  # fmt: skip


def engine(second, running):
    at = START + second
    return live.EngineState(
        age=0.01, running=running, waiting=5,
        tenants=[live.Tenant("zeta", 2, 4), live.Tenant("acme", 4, 1), live.Tenant("<b>odd</b>", 0, 1)],
        throughput=live.Throughput(
            window=5.0, prompt_computed=50.0, prompt_cached=150.0, generated=100.0 + second, device_busy=0.8
        ),
        blocks=live.Blocks(page_size=32, total=100, free=20, cached=30, in_use=50, pinned=2),
        prefix_cache=live.PrefixCache(looked_up=1000, found=500, hit_rate=0.5, recent_hit_rate=0.75),
        submitted=60, finished={"stop": 40, "length": 2}, preemptions=3, recomputed_tokens=120,
        step_count=second + 1, failed_steps=0, steps=[step(second, at)],
    )  # fmt: skip


def state(second, running=6, **more):
    """Return the JSON value of one event."""
    lag, pace = Percentiles(0.12, 0.3, 0.5, 20), Percentiles(0.02, 0.03, 0.05, 20)
    fields = {
        "at": START + second, "started": START - 100, "uptime": 100.0 + second, "model": "fake",
        "version": "1.0", "status": "ready", "cause": "", "restarts": 0, "requests": 11,
        "policies": {"order": "priority > vtc"},
        "latency": live.Latency(window=60.0, ttft=lag, tpot=pace, queue=lag, e2e=lag),
        "engine": engine(second, running), **more,
    }  # fmt: skip
    return msgspec.to_builtins(live.LiveState(**fields))


def states(count):
    return [state(second) for second in range(count)]
