"""The general workloads: an arrival process and lengths, a closed loop, a recorded trace."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import Arrivals, Diurnal, Gamma, OnOff, Ramp, Windows, check_positive
from penstock.workload.driver import Driver, OpenLoop
from penstock.workload.drivers.closed import ClosedLoop
from penstock.workload.generate import Client, mix, requests, streams
from penstock.workload.readers.open import UNTIMED, read_requests, split
from penstock.workload.registry import Value, workload
from penstock.workload.suites.common import DEFAULT_COUNT, numbers, objectives, pairs, seconds

OPEN: dict[str, Value] = {
    "count": 0,
    "duration": 0.0,
    "prompt": "lognormal:512:0.8",
    "output": "lognormal:128:0.6",
    "lengths": "",
    "longest": 0,
    "tenant": "default",
    "prefixes": 0,
    "prefix": 0,
    "tau": 0.0,
    "ttft": 0.0,
    "tpot": 0.0,
    "deadline": 0.0,
}
"""Parameters of every open-loop workload. ``lengths`` is a table that replaces ``prompt`` and ``output``;
``prefixes`` shared texts of ``prefix`` tokens come before prompts; ``tau`` gives requests a predicted
length of that rank correlation; ``ttft``, ``tpot`` and ``deadline`` are objectives in seconds."""


def client(arrivals: Arrivals, values: dict[str, Any]) -> Client:
    """Return a client from an arrival process and parameters named as in `OPEN`."""
    v = OPEN | values
    if not v["count"] and not v["duration"]:
        v["count"] = DEFAULT_COUNT
    if not 0 <= v["tau"] <= 1:
        raise ConfigError("workload.tau", f"expected a number in 0..1, got {v['tau']:g}")
    return Client(
        arrivals=arrivals,
        pairs=pairs(v["prompt"], v["output"], v["lengths"], v["longest"]),
        tenant=v["tenant"],
        count=v["count"],
        duration=v["duration"] or math.inf,
        prefixes=v["prefixes"] if v["prefix"] else 0,
        prefix_tokens=v["prefix"],
        tau=v["tau"],
        slo=objectives(v["ttft"], v["tpot"], v["deadline"]),
    )


def open_loop(arrivals: Arrivals, seed: int, values: dict[str, Any]) -> Driver:
    """Return the driver of one open-loop client."""
    return OpenLoop(mix([client(arrivals, values)], seed))


@workload("poisson", **OPEN)
def poisson(seed: int, *, rate: float = 1.0, **values: Any) -> Driver:
    """Poisson arrivals."""
    check_positive(rate=rate)
    return open_loop(Gamma(rate), seed, values)


@workload("gamma", **OPEN)
def gamma(seed: int, *, rate: float = 1.0, cv: float = 2.0, **values: Any) -> Driver:
    """Bursty arrivals: Gamma gaps with coefficient of variation cv."""
    check_positive(rate=rate)
    return open_loop(Gamma(rate, cv), seed, values)


@workload("even", **OPEN)
def even(seed: int, *, rate: float = 1.0, **values: Any) -> Driver:
    """Evenly spaced arrivals."""
    check_positive(rate=rate)
    return open_loop(Gamma(rate, 0.0), seed, values)


@workload("burst", **OPEN)
def burst(seed: int, **values: Any) -> Driver:
    """Everything arrives at once."""
    return open_loop(Gamma(math.inf), seed, values)


@workload("onoff", **OPEN)
def onoff(
    seed: int, *, rate: float = 2.0, on: float = 60.0, off: float = 60.0, cv: float = 1.0, **values: Any
) -> Driver:
    """Arrivals at a rate for a while, then none for a while, and again."""
    check_positive(rate=rate, on=on)
    return open_loop(OnOff(rate, on, off, cv), seed, values)


@workload("ramp", **OPEN)
def ramp(seed: int, *, start: float = 0.5, end: float = 4.0, over: float = 600.0, **values: Any) -> Driver:
    """A Poisson process whose rate goes from start to end."""
    check_positive(end=end, over=over)
    return open_loop(Ramp(start, end, over), seed, values)


@workload("diurnal", **OPEN)
def diurnal(
    seed: int, *, rate: float = 1.0, swing: float = 0.8, period: float = 86400.0, **values: Any
) -> Driver:
    """A Poisson process whose rate swings over a day, quiet first."""
    check_positive(rate=rate, period=period)
    if swing > 1:
        raise ConfigError("workload.swing", f"expected a number in 0..1, got {swing:g}")
    return open_loop(Diurnal(rate, swing, period), seed, values)


@workload("burstgpt", **OPEN)
def burstgpt(
    seed: int,
    *,
    rate: float = 0.0,
    shapes: str = "0.25",
    betas: str = "2",
    window: float = 60.0,
    speed: float = 1.0,
    **values: Any,
) -> Driver:
    """BurstGPT's generator: per window, Gamma gaps of a shape and rate parameter (slashes separate
    windows)."""
    alpha, beta = numbers(shapes, "workload.shapes"), numbers(betas, "workload.betas")
    check_positive(window=window, speed=speed)
    if len(alpha) != len(beta):
        raise ConfigError(
            "workload.betas", f"expected {len(alpha)} numbers, as many as shapes, got {len(beta)}"
        )
    if rate:
        # Windows are weighted by time, so the mean rate is the mean of the windows' rates beta / shape.
        speed = rate / (sum(b / a for a, b in zip(alpha, beta, strict=True)) / len(alpha))
    return open_loop(Windows(alpha, beta, window, speed), seed, values)


@workload("closed", **OPEN)
def closed(seed: int, *, clients: int = 16, pause: float = 0.0, **values: Any) -> Driver:
    """A closed loop: each client sends its next request when the last one was answered, after a pause."""
    check_positive(clients=clients)
    sent, waits = np.random.SeedSequence(seed).spawn(2)
    source = requests(client(Gamma(math.inf), values), sent, streams())
    pauses = seconds(pause, 1.0, waits)
    return ClosedLoop(source, clients, (lambda: next(pauses)) if pause else None)


@workload("trace")
def trace(
    seed: int, *, path: str = "", limit: int = 0, speed: float = 1.0, rate: float = 0.0, cv: float = 1.0
) -> Driver:
    """Recorded requests, trace:SCHEMA:PATH; a rate replaces the recorded times by Gamma arrivals."""
    if not path:
        raise ConfigError("workload", "expected trace:SCHEMA:PATH, e.g. trace:azure:conv.csv")
    schema, _ = split(path, "workload")
    if schema in UNTIMED and not rate:
        rate = math.inf
    arrivals = Gamma(rate, cv) if rate else None
    return OpenLoop(
        read_requests(path, limit=limit, speed=speed, arrivals=arrivals, seed=seed, field="workload")
    )
