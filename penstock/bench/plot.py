"""One picture of a serving run: latency distributions, latency over time, throughput over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.core.errors import ConfigError
from penstock.workload.metrics.records import Record


def check_plot(path: str) -> None:
    """Fail early, before a long run, if the picture could not be drawn or saved.

    Raises:
        ConfigError: matplotlib is missing, or the name or folder is unusable.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "--plot", "needs matplotlib; install it with: pip install 'penstock[plot]'"
        ) from None
    if Path(path).suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError("--plot", f"expected a name that ends in .png, .svg or .pdf, got {path!r}")
    if not Path(path).absolute().parent.is_dir():
        raise ConfigError("--plot", f"the folder of {path} does not exist")


def plot_run(records: Sequence[Record], path: str, title: str) -> None:
    """Draw the run and write it to ``path``.

    Args:
        records: of the whole run; failed ones are counted in the title.
        path: see `check_plot`.
        title: what was run.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    done = [record for record in records if record.ok]
    start = min((record.arrival for record in records), default=0.0)
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{title} ({len(done)} completed, {len(records) - len(done)} failed)")
    (top_left, top_right), (bottom_left, bottom_right) = figure.subplots(2, 2)
    _cdf(top_left, "TTFT", [record.ttft for record in done])
    _cdf(top_right, "TPOT", [record.tpot for record in done if record.tpot is not None])
    bottom_left.scatter([record.arrival - start for record in done], [record.ttft for record in done], s=8)
    bottom_left.set(title="TTFT over time", xlabel="sent at (s)", ylabel="TTFT (s)", ylim=(0, None))
    seconds = Counter(int(time - start) for record in done for time in record.token_times)
    span = range(max(seconds, default=0) + 2)  # ends at zero, so that the last second is drawn whole
    bottom_right.step(list(span), [seconds[second] for second in span], where="post")
    bottom_right.set(title="Output over time", xlabel="time (s)", ylabel="chunks per second", ylim=(0, None))
    figure.savefig(path, dpi=120)


def _cdf(axes: Any, name: str, samples: Sequence[float]) -> None:
    """Draw the share of requests at or below each latency."""
    values = [0.0, *sorted(samples)]
    shares = [index / max(1, len(samples)) for index in range(len(values))]
    axes.step([value * 1000 for value in values], shares, where="post")
    axes.set(title=f"{name} distribution", xlabel=f"{name} (ms)", ylabel="share of requests", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
