"""Many scenarios that differ in a few settings: all combinations, a table, who is on the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.config.fields import by_name
from penstock.core.errors import ConfigError
from penstock.policies.bundle import build_policies
from penstock.sim.report import plain
from penstock.sim.run import Evaluate, Outcome, Scenario, route_of

if TYPE_CHECKING:
    from rich.console import Console

FIELD = "--sweep"
OWN: dict[str, Callable[[str], Any]] = {
    "route": str,
    "replicas": int,
    "rate": float,
    "cost": str,
    "workload": str,
    "blocks": int,
    "cpu_cost": str,
    "seed": int,
}
"""Fields of a scenario itself that may be varied, besides every setting of the schedule and the cache."""


class Variant(NamedTuple):
    """One combination."""

    settings: dict[str, str]
    scenario: Scenario


class Row(msgspec.Struct, kw_only=True):
    """What came of one combination."""

    settings: dict[str, str]
    outcome: Outcome | None = None
    refused: str = ""
    """Why it could not run."""
    best: bool = False
    """No other combination is at least as good in both respects and better in one."""


def parse_sweep(texts: Sequence[str]) -> dict[str, list[str]]:
    """Read ``NAME=VALUE,VALUE...``; commas within brackets belong to the value.

    Raises:
        ConfigError: another form, or a name that cannot be varied.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        name = name.strip().removeprefix("--").replace("-", "_")
        values = [value.strip() for value in split_outside(rest) if value.strip()]
        if not equals or not values:
            raise ConfigError(FIELD, f"expected NAME=VALUE,VALUE..., such as order=fcfs,vtc; got {text!r}")
        section_of(name)
        found[name] = values
    return found


def split_outside(text: str) -> Iterator[str]:
    """Split at commas that are not within brackets."""
    depth, begin = 0, 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            yield text[begin:at]
            begin = at + 1
    yield text[begin:]


def section_of(name: str) -> str:
    """Return ``schedule``, ``cache`` or, for a scenario's own field, nothing.

    Raises:
        ConfigError: no such setting.
    """
    for section in ("schedule", "cache"):
        if f"{section}.{name}" in by_name():
            return section
    if name in OWN:
        return ""
    known = [dotted.split(".")[1] for dotted in by_name() if dotted.startswith(("schedule.", "cache."))]
    raise ConfigError(FIELD, f"{name!r} cannot be varied; there are {', '.join([*known, *OWN])}")


def vary(scenario: Scenario, name: str, value: str) -> Scenario:
    """Return the scenario with one setting changed, given as text.

    Raises:
        ConfigError: no such setting, or a value that it does not take.
    """
    section = section_of(name)
    if section:
        converted = by_name()[f"{section}.{name}"].convert(value, text=True)
        part = msgspec.structs.replace(getattr(scenario, section), **{name: converted})
        return msgspec.structs.replace(scenario, **{section: part})
    try:
        return msgspec.structs.replace(scenario, **{name: OWN[name](value)})
    except ValueError:
        raise ConfigError(FIELD, f"{name}: expected a number, got {value!r}") from None


def variants(scenario: Scenario, axes: dict[str, list[str]]) -> list[Variant]:
    """Return every combination of the values, the first axis varying slowest.

    Raises:
        ConfigError: see `vary`; combinations of policies are not judged here.
    """
    found = []
    for values in product(*axes.values()):
        settings = dict(zip(axes, values, strict=True))
        mine = scenario
        for name, value in settings.items():
            mine = vary(mine, name, value)
        found.append(Variant(settings, mine))
    return found


def check_policies(scenario: Scenario) -> None:
    """Refuse policy strings that cannot be read or do not go together.

    Raises:
        ConfigError: with the reason.
    """
    build_policies(scenario.schedule, scenario.cache)
    route_of(scenario.route)


def sweep(found: Sequence[Variant], evaluate: Evaluate) -> list[Row]:
    """Run every combination; those that are refused are listed with the reason."""
    rows = []
    for variant, result in zip(found, evaluate([v.scenario for v in found]), strict=True):
        if isinstance(result, Outcome):
            rows.append(Row(settings=variant.settings, outcome=result))
        else:
            rows.append(Row(settings=variant.settings, refused=f"{result.field}: {result.message}"))
    mark_best(rows)
    return rows


def rate_of(outcome: Outcome) -> float:
    """Return what is to be large: goodput where there are objectives, else output tokens per second."""
    return outcome.figures.get("request_goodput", outcome.figures["output_throughput"])


def mark_best(rows: Sequence[Row]) -> None:
    """Mark the Pareto front of rate (large) against P99 TTFT (small)."""
    points = [
        (row, rate_of(row.outcome), row.outcome.figures["p99_ttft_ms"])
        for row in rows
        if row.outcome is not None
    ]
    for row, rate, wait in points:
        row.best = not any(
            other >= rate and slower <= wait and (other > rate or slower < wait)
            for _, other, slower in points
        )


COLUMNS = {
    "request_goodput": ("good-\nput", 1.0),
    "slo_attainment": ("met\n%", 100.0),
    "output_throughput": ("tok/s", 1.0),
    "p99_ttft_ms": ("TTFT\nP99 s", 0.001),
    "p99_tpot_ms": ("TPOT\nP99 ms", 1.0),
    "jain": ("Jain", 1.0),
    "failed": ("failed", 1.0),
}
"""Figures shown, with a heading and a factor; those that a run does not have are left out."""


def short(value: float) -> str:
    """Return three significant digits, never an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def print_rows(rows: Sequence[Row], console: Console) -> None:
    """Print the sweep, best first; the front is marked, refusals are named below."""
    from rich.table import Table

    done = [row for row in rows if row.outcome is not None]
    shown = [key for key in COLUMNS if any(key in _figures(row) for row in done)]
    if not any(len(row.outcome.tenants) > 1 for row in done if row.outcome is not None):
        shown.remove("jain") if "jain" in shown else None
    title = "Sweep, SIMULATED (goodput in requests/s; * not beaten in rate and P99 TTFT)"
    table = Table(title=title, title_justify="left", padding=(0, 0, 0, 1))
    table.add_column("")
    widest = max((len(_words(row)) for row in done), default=0)
    table.add_column(" | ".join(rows[0].settings) if rows else "", overflow="fold", min_width=min(widest, 36))
    for key in shown:
        table.add_column(COLUMNS[key][0], justify="right")
    for row in sorted(done, key=lambda one: -rate_of(one.outcome) if one.outcome else 0.0):
        cells = [short(_figures(row)[key] * COLUMNS[key][1]) for key in shown]
        table.add_row("[green]*[/]" if row.best else "", _words(row), *cells)
    console.print(table)
    for row in rows:
        if row.refused:
            words = ", ".join(f"{name}={value}" for name, value in row.settings.items())
            console.print(f"refused {words}: {row.refused}", style="yellow", markup=False, highlight=False)


def _words(row: Row) -> str:
    return " | ".join(row.settings.values())


def _figures(row: Row) -> dict[str, float]:
    return row.outcome.figures if row.outcome is not None else {}


def as_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the sweep as plain values."""
    return [
        {"settings": row.settings, "pareto": row.best, "refused": row.refused or None, **plain(_figures(row))}
        for row in rows
    ]
