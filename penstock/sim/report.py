"""What a simulated run came to, as tables and as plain values. Everything printed says SIMULATED."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.sim.run import Outcome, Scenario
from penstock.sim.run_series import Series

if TYPE_CHECKING:
    from rich.console import Console

LATENCIES = {
    "ttft": "TTFT  time to first token",
    "scheduling_delay": "      of it waiting to be scheduled",
    "tpot": "TPOT  per token after it",
    "itl": "ITL   gap between tokens",
    "e2el": "E2E   whole request",
}
POINTS = ("mean", "median", "p90", "p99")


def scenario_line(scenario: Scenario) -> str:
    """Return a scenario in a line."""
    many = f"{scenario.replicas} x " if scenario.replicas > 1 else ""
    rate = f" at {scenario.rate:g} requests/s" if scenario.rate else ""
    return f"{many}{scenario.cost}, {scenario.workload}{rate}"


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print the tables of one run."""
    from rich.table import Table

    summary = Table(
        title=f"SIMULATED  {scenario_line(outcome.scenario)}", title_justify="left", show_header=False
    )
    summary.add_column(style="dim")
    summary.add_column(justify="right", overflow="fold")
    for name, value in summary_rows(outcome):
        summary.add_row(name, value)
    console.print(summary)
    latency = Table(title="Latency, SIMULATED (ms, nearest-rank percentiles)", title_justify="left")
    latency.add_column("")
    for point in POINTS:
        latency.add_column(point, justify="right")
    for key, label in LATENCIES.items():
        latency.add_row(label, *(f"{outcome.figures[f'{point}_{key}_ms']:,.2f}" for point in POINTS))
    console.print(latency)
    if len(outcome.tenants) > 1:
        console.print(_tenants(outcome))


def summary_rows(outcome: Outcome) -> list[tuple[str, str]]:
    """Return name and text of the figures that a run is summed up by."""
    f, labels = outcome.figures, outcome.labels
    rows = [
        ("cost model", labels["cost"]),
        ("KV per replica", labels["device"]),
        ("CPU time of the scheduler", labels["cpu"]),
        ("policies", policy_line(outcome.scenario)),
        ("virtual time", f"{f['virtual_seconds']:,.1f} s, {f['steps']:,.0f} steps"),
        ("requests completed", f"{f['completed']:,.0f}"),
        ("failed, unfinished", f"{f['failed']:,.0f}, {f['unfinished']:,.0f}"),
        ("request throughput", f"{f['request_throughput']:,.2f} requests/s"),
        ("output throughput", f"{f['output_throughput']:,.1f} tokens/s"),
        ("total throughput", f"{f['total_token_throughput']:,.1f} tokens/s"),
        ("device busy", f"{100 * f['device_busy']:.1f} %"),
        ("prompt tokens from the cache", f"{100 * f['prefix_hit_rate']:.1f} %"),
        ("preemptions, recomputed tokens", f"{f['preemptions']:,.0f}, {f['recomputed_tokens']:,.0f}"),
    ]
    if "request_goodput" in f:
        asked = ", ".join(f"{name} {limit * 1000:g} ms" for name, limit in outcome.scenario.slo.items())
        rows.append((f"goodput ({asked})", f"{f['request_goodput']:,.2f} requests/s"))
        rows.append(("objectives met", f"{100 * f['slo_attainment']:.1f} %"))
    if "own_slo_attainment" in f:
        rows.append(("requests' own objectives met", f"{100 * f['own_slo_attainment']:.1f} %"))
    if f["jobs"]:
        rows.append(("jobs, mean time", f"{f['jobs']:,.0f}, {f['mean_jct_ms'] / 1000:,.1f} s"))
    if len(outcome.tenants) > 1:
        rows.append(("Jain's index of service", f"{f['jain']:.3f}"))
    if f["unstable"]:
        rows.append(
            ("[yellow]unstable[/]", "[yellow]the backlog grew to the end: percentiles mean little[/]")
        )
    return rows


def policy_line(scenario: Scenario) -> str:
    """Return the policies in a line."""
    s = scenario.schedule
    parts = (s.order, s.shape, f"{s.reserve} room", f"retain {s.retain}", f"evict {s.evict}", s.preempt)
    routed = f", route {scenario.route}" if scenario.replicas > 1 else ""
    return ", ".join(parts) + f", at most {s.max_num_seqs} sequences{routed}"


def _tenants(outcome: Outcome) -> Any:
    from rich.table import Table

    table = Table(title="Tenants, SIMULATED", title_justify="left")
    for name in ("tenant", "completed", "failed", "service", "P99 TTFT (ms)", "mean TPOT (ms)"):
        table.add_column(name, justify="left" if name == "tenant" else "right")
    ranked = sorted(outcome.tenants.items(), key=lambda item: -item[1]["service"])
    for name, f in ranked[:20]:
        table.add_row(
            name,
            f"{f['completed']:,.0f}",
            f"{f['failed']:,.0f}",
            f"{f['service']:,.0f}",
            f"{f['p99_ttft_ms']:,.1f}",
            f"{f['mean_tpot_ms']:,.2f}",
        )
    if len(ranked) > 20:
        table.add_row(f"and {len(ranked) - 20} more", "", "", "", "", "")
    return table


def plain(value: Any) -> Any:
    """Return plain values that JSON can hold: structs as objects, what is not a finite number as null."""
    value = msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_result(outcome: Outcome, series: Sequence[Series] = ()) -> dict[str, Any]:
    """Return a run as plain values: label, scenario, figures, tenants, load over time."""
    return {
        "label": "simulated",
        "models": outcome.labels,
        "scenario": plain(outcome.scenario),
        **plain(outcome.figures),
        "tenants": plain(outcome.tenants),
        "load": [plain(one.thin(300)) for one in series],
    }
