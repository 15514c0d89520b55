"""Pictures of experiments: every bar at a glance, and the curves of those that have some."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.reproduce.base import Bar
from penstock.reproduce.harness import Report, row_key

COLOURS = {"property": "tab:green", "simulated": "tab:blue", "real": "tab:orange"}
_POINT = re.compile(r"(?P<name>.+)\[(?P<x>-?[\d.]+(?:e[-+]?\d+)?)\]")
FARTHEST = 100.0
"""Ratios beyond are drawn here."""


def _canvas(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot_bars(reports: Sequence[Report], path: Path) -> None:
    """Draw every bar's median and range as a multiple of what is asked; right of the line is met."""
    ordered = sorted(reports, key=lambda one: (row_key(one.row), one.name))
    rows = [row for report in ordered for row in _plotted(report)]
    figure = _canvas(9, 1.6 + 0.3 * len(rows))
    axes = figure.subplots()
    for place, (_, low, middle, high, met, kind) in enumerate(rows):
        colour = COLOURS[kind]
        axes.plot([low, high], [place, place], color=colour, linewidth=2, alpha=0.6)
        axes.plot(middle, place, "o" if met else "X", color=colour if met else "tab:red", markersize=7)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("symlog", linthresh=2.0)
    right = axes.get_xlim()[1]
    ticks = [tick for tick in (0, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if tick <= max(right, 2)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        title="Reproductions: blue simulated, orange real, green property, red X missed",
        xlabel="times what is asked (median and range over seeds; at or right of 1 is met)",
    )
    figure.savefig(path, dpi=120)


def _plotted(report: Report) -> list[tuple[str, float, float, float, bool, str]]:
    """Return (label, least, median, greatest, met, kind) of each bar that can be drawn as a ratio."""
    rows: list[tuple[str, float, float, float, bool, str]] = []
    for judged in report.judged():
        values = [value for value in report.values(judged.bar.figure) if math.isfinite(value)]
        if not values:
            continue
        ratios = sorted(_ratio(judged.bar, value) for value in values)
        middle = statistics.median(ratios)
        label = f"{report.row}  {report.name}: {judged.bar.figure}"
        rows.append((label, ratios[0], middle, ratios[-1], judged.met, report.kind))
    return rows


def _ratio(bar: Bar, value: float) -> float:
    """Return how many times over a bar is met: ceilings turn round, limits of zero are met (1) or not (0)."""
    if bar.floor is not None and bar.ceiling is not None:
        return 1.0 if bar.floor <= value <= bar.ceiling else 0.0
    if bar.floor is not None:
        return min(value / bar.floor, FARTHEST) if bar.floor > 0 else float(value >= bar.floor)
    if bar.ceiling is None:
        return 1.0
    if value <= 0 or bar.ceiling <= 0:
        return 1.0 if value <= bar.ceiling else 0.0
    return min(bar.ceiling / value, FARTHEST)


def curves(report: Report) -> dict[str, list[tuple[float, list[float]]]]:
    """Return the figures named like ``ttft[4]`` as curves: by name, (x, values of the seeds)."""
    found: dict[str, list[tuple[float, list[float]]]] = {}
    for figure in report.figures():
        match = _POINT.fullmatch(figure)
        if match:
            found.setdefault(match["name"], []).append((float(match["x"]), report.values(figure)))
    return {name: sorted(points) for name, points in found.items() if len(points) > 1}


def plot_curves(report: Report, path: Path) -> bool:
    """Draw an experiment's curves, medians over a band from least to greatest; False if it has none."""
    found = curves(report)
    if not found:
        return False
    figure = _canvas(9, 3.2 * math.ceil(len(found) / 2))
    figure.suptitle(f"{report.name}: {report.title} ({report.kind})")
    grid = figure.subplots(math.ceil(len(found) / 2), min(2, len(found)), squeeze=False)
    for axes in list(grid.flat)[len(found) :]:
        axes.remove()
    for axes, (name, points) in zip(grid.flat, found.items(), strict=False):
        xs = [x for x, _ in points]
        axes.fill_between(xs, [min(v) for _, v in points], [max(v) for _, v in points], alpha=0.25)
        axes.plot(xs, [statistics.median(v) for _, v in points], "o-")
        axes.set(title=name, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    return True
