"""Goodput and capacity: the largest rate at which a system still keeps its promises.

Pure functions over a callable that makes one run, simulated or real. For a fair search, runs must use common
random numbers: the same seed gives the same pattern of arrivals and the same lengths at every rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import msgspec

from penstock.core.errors import ConfigError

TOLERANCE = 0.025
"""A search ends when (failing - passing) / failing is at most this (Sarathi-Serve, DistServe)."""
SHARE = 0.9
"""Of requests that must meet their objectives (DistServe)."""


class Outcome(msgspec.Struct, frozen=True):
    """What one run showed."""

    attainment: float
    """Share of requests that met their objectives; a criterion of another kind says 1.0 or 0.0."""
    unstable: bool = False
    """The backlog grew without end: failed, whatever the share."""


class Probe(msgspec.Struct, frozen=True):
    """One run of a search."""

    rate: float
    attainment: float
    unstable: bool
    ok: bool


class Found(msgspec.Struct, frozen=True):
    """What a search found."""

    rate: float
    """The largest rate seen to pass; 0 if none did."""
    limit: float
    """The smallest rate seen to fail; infinite if none did."""
    probes: tuple[Probe, ...]
    """All runs, in order of their rates."""


def search_rate(
    run: Callable[[float], Outcome],
    start: float = 1.0,
    share: float = SHARE,
    tolerance: float = TOLERANCE,
    lowest: float = 1e-3,
    highest: float = 1e6,
) -> Found:
    """Return the largest rate that passes: a bracket by doubling (or halving) from ``start``, then bisection.

    Args:
        run: makes a run at a rate.
        start: rate of the first run, > 0.
        share: attainment that passes; an unstable run never does.
        tolerance: ends the bisection.
        lowest, highest: bounds beyond which the search gives up.

    Raises:
        ConfigError: numbers that make no sense.
    """
    if not 0 < lowest <= start <= highest:
        raise ConfigError("search.start", f"expected a rate within {lowest:g}..{highest:g}, got {start:g}")
    if not 0 < tolerance < 1:
        raise ConfigError("search.tolerance", f"expected a number within 0..1, got {tolerance:g}")
    probes: list[Probe] = []

    def passes(rate: float) -> bool:
        outcome = run(rate)
        ok = outcome.attainment >= share and not outcome.unstable
        probes.append(Probe(rate, outcome.attainment, outcome.unstable, ok))
        return ok

    passing, failing = _bracket(passes, start, lowest, highest)
    while passing and math.isfinite(failing) and (failing - passing) / failing > tolerance:
        middle = (passing + failing) / 2
        if passes(middle):
            passing = middle
        else:
            failing = middle
    return Found(passing, failing, tuple(sorted(probes, key=lambda probe: probe.rate)))


def _bracket(
    passes: Callable[[float], bool], start: float, lowest: float, highest: float
) -> tuple[float, float]:
    """Return a rate that passes (0: none) and a larger one that fails (infinity: none)."""
    rate = start
    if passes(rate):
        while rate * 2 <= highest:
            if not passes(rate * 2):
                return rate, rate * 2
            rate *= 2
        return rate, math.inf
    while rate / 2 >= lowest:
        if passes(rate / 2):
            return rate / 2, rate
        rate /= 2
    return 0.0, rate


def search_scale(
    attainment: Callable[[float], Outcome],
    share: float = SHARE,
    tolerance: float = TOLERANCE,
    highest: float = 1024.0,
) -> Found:
    """Return the tightest objectives that are met, as the inverse of the least factor on them (DistServe).

    For systems whose schedule depends on the objectives; otherwise `Collector.slo_scale` reads the exact
    factor off one run.

    Args:
        attainment: makes a run with all objectives multiplied by a factor.
        share, tolerance: as in `search_rate`.
        highest: largest tightening tried.

    Returns:
        ``rate`` is the largest 1 / factor that passed: the least factor is ``1 / rate``.
    """
    return search_rate(
        lambda tightness: attainment(1 / tightness), 1.0, share, tolerance, 1 / highest, highest
    )


def attainment_curve(run: Callable[[float], Outcome], rates: Iterable[float]) -> list[Probe]:
    """Return what each rate's run showed, judged by `SHARE`."""
    curve = []
    for rate in rates:
        outcome = run(rate)
        ok = outcome.attainment >= SHARE and not outcome.unstable
        curve.append(Probe(rate, outcome.attainment, outcome.unstable, ok))
    return curve


def over_seeds(search: Callable[[int], Found], seeds: Sequence[int]) -> tuple[float, float, float]:
    """Return the median (lower of the middle two), least and greatest rate that searches with these seeds
    found."""
    rates = sorted(search(seed).rate for seed in seeds)
    return rates[(len(rates) - 1) // 2], rates[0], rates[-1]
