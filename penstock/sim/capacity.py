"""How much a system can take: the largest rate at which enough requests meet their objectives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import ConfigError
from penstock.sim.report import plain, scenario_line
from penstock.sim.run import Evaluate, Outcome, Scenario
from penstock.workload import search

if TYPE_CHECKING:
    from rich.console import Console

FIRST = 1.0
"""Requests per second tried first where the scenario names no rate."""
IDLE = 0.05
"""Share of busy device time below which going slower still changes nothing."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One rate that was tried."""

    rate: float
    attainment: float
    unstable: bool
    """The backlog grew to the end: the rate counts as failed whatever its percentiles."""
    good: bool
    figures: dict[str, float]


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found."""

    scenario: Scenario
    share: float
    rate: float
    """Largest rate found good, requests per second; 0 if none was."""
    above: float
    """Smallest rate found bad; infinite if none was."""
    trials: tuple[Trial, ...]
    """In the order in which they were made."""


def find_capacity(scenario: Scenario, evaluate: Evaluate, share: float = 0.9) -> Capacity:
    """Search the largest rate at which ``share`` of the requests meet the scenario's objectives.

    Every trial sees the same random numbers, only faster or slower, so that attainment falls with the rate
    as smoothly as it can (`penstock.workload.search` has the search). It need not fall strictly: the result
    is one crossing.

    Args:
        scenario: with objectives; its rate is where the search begins.
        evaluate: runs scenarios.
        share: of requests that must meet all objectives.

    Raises:
        ConfigError: no objectives, or the scenario cannot run.
    """
    if not scenario.slo:
        raise ConfigError("--slo", "a capacity search needs objectives, such as ttft:1s,tpot:50")
    trials: list[Trial] = []

    def run(rate: float) -> search.Outcome:
        if trials and not trials[-1].good and trials[-1].figures["device_busy"] < IDLE:
            return search.Outcome(trials[-1].attainment)  # slower changes nothing any more
        (outcome,) = evaluate([msgspec.structs.replace(scenario, rate=rate)])
        if not isinstance(outcome, Outcome):
            raise ConfigError(outcome.field, outcome.message)
        trials.append(_trial(rate, outcome, share))
        return search.Outcome(trials[-1].attainment, trials[-1].unstable)

    first = scenario.rate or FIRST
    found = search.search_rate(run, first, share, lowest=first / 4096, highest=first * 2**20)
    return Capacity(scenario=scenario, share=share, rate=found.rate, above=found.limit, trials=tuple(trials))


def _trial(rate: float, outcome: Outcome, share: float) -> Trial:
    figures = outcome.figures
    unstable = bool(figures["unstable"])
    attainment = figures["slo_attainment"]
    return Trial(
        rate=rate,
        attainment=attainment,
        unstable=unstable,
        good=attainment >= share and not unstable,
        figures=figures,
    )


def print_capacity(found: Capacity, console: Console) -> None:
    """Print the attainment curve and the answer."""
    from rich.table import Table

    table = Table(title=f"Capacity, SIMULATED  {scenario_line(found.scenario)}", title_justify="left")
    for name in (
        "requests/s",
        "met (%)",
        "median TTFT (ms)",
        "P99 TTFT (ms)",
        "P99 TPOT (ms)",
        "busy (%)",
        "",
    ):
        table.add_column(name, justify="right")
    for trial in sorted(found.trials, key=lambda one: one.rate):
        f = trial.figures
        verdict = (
            "[yellow]backlog grows[/]"
            if trial.unstable
            else "[green]good[/]"
            if trial.good
            else "[red]bad[/]"
        )
        table.add_row(
            f"{trial.rate:.4g}",
            f"{100 * trial.attainment:.1f}",
            f"{f['median_ttft_ms']:,.1f}",
            f"{f['p99_ttft_ms']:,.1f}",
            f"{f['p99_tpot_ms']:,.2f}",
            f"{100 * f['device_busy']:.1f}",
            verdict,
        )
    console.print(table)
    asked = ", ".join(f"{name} <= {limit:g} s" for name, limit in found.scenario.slo.items())
    if not found.rate:
        console.print(f"no rate tried meets {asked} for {found.share:.0%} of the requests", style="yellow")
        return
    replicas = found.scenario.replicas
    each = f", {found.rate / replicas:.4g} a replica" if replicas > 1 else ""
    console.print(
        f"SIMULATED capacity: {found.rate:.4g} requests/s{each} with {found.share:.0%} of the requests "
        f"within {asked} ({found.above:.4g} is too much)",
        highlight=False,
    )


def as_capacity(found: Capacity) -> dict[str, Any]:
    """Return the search as plain values."""
    return {
        "label": "simulated",
        "scenario": plain(found.scenario),
        "attainment_asked": found.share,
        "capacity": found.rate,
        "too_much": plain(found.above),
        "trials": [plain(trial) for trial in found.trials],
    }
