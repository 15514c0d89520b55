"""Pictures of simulated runs. Needs matplotlib, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.core.errors import ConfigError
from penstock.sim.report import scenario_line
from penstock.sim.run import Run
from penstock.workload.metrics.columns import Columns
from penstock.workload.metrics.summary import latencies

TENANTS = 10
"""Tenants drawn by name; the rest are drawn together."""


def plot_folder(folder: str, field: str = "--plot") -> Path:
    """Make a folder for pictures; fail before a long run if they could not be drawn.

    Raises:
        ConfigError: matplotlib is missing, or the folder cannot be made.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(field, "needs matplotlib; install it with: pip install 'penstock[plot]'") from None
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(field, f"cannot make the folder {path}: {error.strerror}") from None
    return path


def canvas(width: float, height: float, title: str) -> Any:
    """Return an empty figure that can be saved without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11)
    return figure


def draw_run(run: Run, folder: Path) -> list[Path]:
    """Draw a run: latencies, load, throughput and, if there are several, tenants. Returns the files."""
    title = f"SIMULATED  {scenario_line(run.scenario)}"
    paths = [folder / "latency.png", folder / "load.png", folder / "throughput.png"]
    _latency(run, title).savefig(paths[0], dpi=120)
    _load(run, title).savefig(paths[1], dpi=120)
    _throughput(run, title).savefig(paths[2], dpi=120)
    if len(run.collector.tenant_names) > 1 and run.collector.service_bucket:
        paths.append(folder / "tenants.png")
        _tenants(run, title).savefig(paths[3], dpi=120)
    return paths


def _latency(run: Run, title: str) -> Any:
    columns = run.collector.columns
    chosen = (columns["ok"] == 1) & run.collector.interval().holds(columns["arrival"])
    found = latencies(columns, chosen)
    figure = canvas(11, 3.6, title)
    names = {"ttft": "TTFT", "tpot": "TPOT", "e2el": "E2E"}
    for axes, (key, name) in zip(figure.subplots(1, 3), names.items(), strict=True):
        values = np.sort(found[key][~np.isnan(found[key])])
        _cdf(axes, values)
        limit = run.scenario.slo.get(key)
        if limit:
            axes.axvline(limit, color="tab:red", linestyle="--", linewidth=1, label=f"objective {limit:g} s")
            axes.legend(loc="lower right", fontsize=8)
        axes.set(title=name, xlabel="seconds", ylabel="share of requests", ylim=(0, 1.02))
        axes.grid(alpha=0.3)
    return figure


def _cdf(axes: Any, values: np.ndarray) -> None:
    """Draw the share at or below each value; logarithmic where the values span decades."""
    if not len(values):
        axes.text(0.5, 0.5, "no data", ha="center", transform=axes.transAxes)
        return
    axes.step(values, np.arange(1, len(values) + 1) / len(values), where="post")
    if values[0] > 0 and values[-1] / values[0] > 100:
        axes.set_xscale("log")


def _load(run: Run, title: str) -> Any:
    figure = canvas(11, 7, title)
    parts = {
        "waiting": "requests waiting",
        "running": "requests running",
        "kv_used": "share of KV blocks in use",
    }
    several = len(run.series) > 1
    for axes, (name, label) in zip(figure.subplots(3, 1, sharex=True), parts.items(), strict=True):
        for number, series in enumerate(run.series):
            shown = f"replica {number}" if several and number < 8 else None
            style = {"linewidth": 1, "alpha": 0.8 if several else 1.0}
            axes.step(series["time"], series[name], where="post", label=shown, **style)
        axes.set(ylabel=label, ylim=(0, 1.02 if name == "kv_used" else None))
        axes.grid(alpha=0.3)
    if several:
        figure.axes[0].legend(fontsize=8, ncols=4)
    figure.axes[-1].set_xlabel("virtual time (s)")
    return figure


def _throughput(run: Run, title: str) -> Any:
    columns, end = run.collector.columns, max(run.simulation.now(), 1e-9)
    edges = np.linspace(0, end, 81)
    width = edges[1]
    figure = canvas(11, 5, title)
    above, below = figure.subplots(2, 1, sharex=True)
    tokens = np.diff(_cumulated(columns, edges)) / width
    above.step(edges, [0.0, *tokens], where="pre")
    above.set(ylabel="output tokens/s", ylim=(0, None))
    arrived, _ = np.histogram(columns["arrival"], edges)
    ended, _ = np.histogram(columns["end"][columns["ok"] == 1], edges)
    below.step(edges, [0.0, *(arrived / width)], where="pre", label="arrived", alpha=0.6)
    below.step(edges, [0.0, *(ended / width)], where="pre", label="completed")
    below.set(ylabel="requests/s", xlabel="virtual time (s)", ylim=(0, None))
    below.legend(fontsize=8)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def _cumulated(columns: Columns, at: np.ndarray) -> np.ndarray:
    """Return the output tokens by each time, a request's spread evenly from its first token to its last."""
    served = columns["first"] >= 0
    first = columns["first"][served]
    last = np.maximum(columns["last"][served], first + 1e-3)  # a lone token takes a moment too
    tokens = columns["output"][served].astype(float)
    total = np.zeros(len(at))
    # Sum of clipped ramps = sum of ramps from the first tokens less ramps from the last ones.
    for start, sign in ((first, 1.0), (last, -1.0)):
        order = np.argsort(start)
        rates = (tokens / (last - first))[order]
        n = np.searchsorted(start[order], at, side="right")
        slope = np.concatenate([[0.0], np.cumsum(rates)])[n]
        offset = np.concatenate([[0.0], np.cumsum(rates * start[order])])[n]
        total += sign * (slope * at - offset)
    return total


def _tenants(run: Run, title: str) -> Any:
    collector = run.collector
    figure = canvas(11, 4.5, title)
    axes = figure.subplots()
    totals = {index: sum(buckets.values()) for index, buckets in collector.service.items()}
    ranked = sorted(totals, key=lambda index: -totals[index])
    groups: list[tuple[str, Sequence[int]]] = [(collector.tenant_names[i], [i]) for i in ranked[:TENANTS]]
    if ranked[TENANTS:]:
        groups.append((f"{len(ranked) - TENANTS} others", ranked[TENANTS:]))
    for name, members in groups:
        buckets: dict[int, float] = {}
        for index in members:
            for bucket, units in collector.service[index].items():
                buckets[bucket] = buckets.get(bucket, 0.0) + units
        times = list(range(max(buckets, default=0) + 2))
        rate = [buckets.get(bucket, 0.0) / collector.service_bucket for bucket in times]
        axes.step([time * collector.service_bucket for time in times], rate, where="post", label=name)
    axes.set(xlabel="virtual time (s)", ylabel="service units/s (input 1, output 2 a token)", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    return figure
