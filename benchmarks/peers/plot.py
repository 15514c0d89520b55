"""One picture of a run: total throughput by workload, each engine a bar from its least to its most."""

from __future__ import annotations

from pathlib import Path

from .figures import Summary


def plot(summary: Summary, titles: dict[str, str], path: Path, note: str) -> None:
    """Draw medians as bars, ranges as whiskers, and write the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(summary) + 1, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (workload, engines) in zip(
        figure.subplots(1, len(summary), squeeze=False)[0], summary.items(), strict=True
    ):
        ranked = sorted(engines.items(), key=lambda pair: pair[1]["total_tps"].median)
        names = [name for name, _ in ranked]
        spreads = [figures["total_tps"] for _, figures in ranked]
        middles = [one.median for one in spreads]
        reach = [
            [one.median - one.low for one in spreads],
            [one.high - one.median for one in spreads],
        ]
        colours = ["#c2571a" if name.startswith("penstock") else "#7a8fa6" for name in names]
        axes.barh(names, middles, xerr=reach, color=colours, ecolor="#333333", capsize=3)
        axes.set(title=f"{workload}: {titles[workload]}", xlabel="prompt and output tokens per second")
        axes.title.set_fontsize(9)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle(note, fontsize=9)
    figure.savefig(path, dpi=120)
