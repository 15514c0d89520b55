"""Pictures of many runs: a sweep with its Pareto front, and attainment over the rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.sim.capacity import Capacity
from penstock.sim.plots import canvas
from penstock.sim.report import scenario_line
from penstock.sim.sweep import Row, rate_of

NAMED = 24
"""Combinations named in the picture; of more, only the front is."""


def draw_sweep(rows: Sequence[Row], folder: Path) -> Path:
    """Draw rate against P99 TTFT, one point per combination, the Pareto front joined. Returns the file."""
    done = [row for row in rows if row.outcome is not None]
    figure = canvas(10, 6.5, "SIMULATED sweep")
    axes = figure.subplots()
    points = []
    for row in done:
        assert row.outcome is not None
        points.append((row.outcome.figures["p99_ttft_ms"] / 1000, rate_of(row.outcome), row))
    front = sorted((wait, rate) for wait, rate, row in points if row.best)
    axes.plot(*zip(*front, strict=True), color="tab:green", linewidth=1, zorder=1) if front else None
    alike: dict[tuple[str, str], list[Row]] = {}
    for wait, rate, row in points:
        axes.scatter([wait], [rate], s=28, color="tab:green" if row.best else "tab:blue", zorder=2)
        alike.setdefault((f"{wait:.2g}", f"{rate:.2g}"), []).append(row)
    for wait, rate, row in points:
        same = alike[f"{wait:.2g}", f"{rate:.2g}"]
        if row is same[0] and (row.best or len(alike) <= NAMED):
            label = " | ".join(row.settings.values())
            label += f"  (+{len(same) - 1} alike)" if len(same) > 1 else ""
            axes.annotate(label, (wait, rate), textcoords="offset points", xytext=(6, -3), fontsize=7)
    goodput = any(row.outcome is not None and "request_goodput" in row.outcome.figures for row in done)
    what = "goodput (requests/s within the objectives)" if goodput else "output tokens/s"
    waits = [wait for wait, _, _ in points if wait > 0]
    if waits and max(waits) / min(waits) > 30:
        axes.set_xscale("log")
    axes.set(xlabel="P99 TTFT (s), left is better", ylabel=f"{what}, up is better")
    names = " | ".join(done[0].settings) if done else ""
    axes.set_title(f"points: {names}; green: beaten by none in both respects", fontsize=9)
    axes.margins(0.08, 0.12)
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.3 if axes.get_xscale() == "log" else right * 1.3)
    axes.grid(alpha=0.3)
    path = folder / "sweep.png"
    figure.savefig(path, dpi=120)
    return path


def draw_capacity(found: Capacity, folder: Path) -> Path:
    """Draw attainment and P99 TTFT over the rate. Returns the file."""
    figure = canvas(9, 6.5, f"SIMULATED  {scenario_line(found.scenario)}")
    above, below = figure.subplots(2, 1, sharex=True)
    trials = sorted(found.trials, key=lambda trial: trial.rate)
    rates = [trial.rate for trial in trials]
    above.plot(rates, [100 * trial.attainment for trial in trials], "o-")
    unstable = [(trial.rate, 100 * trial.attainment) for trial in trials if trial.unstable]
    if unstable:
        above.plot(*zip(*unstable, strict=True), "x", color="tab:red", markersize=9, label="backlog grew")
    above.axhline(
        100 * found.share, color="grey", linestyle="--", linewidth=1, label=f"{found.share:.0%} asked"
    )
    above.axvline(found.rate, color="tab:green", linewidth=1, label=f"capacity {found.rate:.3g} requests/s")
    above.set(ylabel="requests within the objectives (%)", ylim=(0, 103))
    above.legend(fontsize=8)
    below.plot(rates, [trial.figures["p99_ttft_ms"] / 1000 for trial in trials], "o-", label="P99 TTFT")
    below.plot(rates, [trial.figures["median_ttft_ms"] / 1000 for trial in trials], "o-", label="median TTFT")
    below.set(xlabel="requests per second", ylabel="seconds", yscale="log")
    below.legend(fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    path = folder / "capacity.png"
    figure.savefig(path, dpi=120)
    return path
