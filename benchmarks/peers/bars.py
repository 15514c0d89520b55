"""What Penstock has to reach beside the others, in one run; and the table that says whether it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .figures import Spread, Summary

OURS = "penstock"


@dataclass(frozen=True)
class Bar:
    """A demand: a ratio to the best of the others that is at least ``least``."""

    title: str
    workload: str
    metric: str
    least: float
    aim: str
    precision: str = "bf16"
    more_is_better: bool = True
    beside: tuple[str, ...] = ()
    """Engines that count; empty: all others at the same precision."""


@dataclass(frozen=True)
class Verdict:
    """A bar beside what was measured; without one of the two sides, there is no ratio."""

    bar: Bar
    ours: Spread | None
    best: Spread | None
    best_engine: str
    ratio: float | None
    """Above 1 is better than the best of the others."""

    @property
    def met(self) -> bool | None:
        """Whether it holds; None if it cannot be told."""
        return None if self.ratio is None else self.ratio >= self.bar.least


BARS = (
    Bar("W1 single stream S, decode tokens/s", "W1", "decode_tps", 1.3, "95 % of bandwidth"),
    Bar("W1 time to first token, 512 tokens", "W1", "ttft", 1.8, "3", more_is_better=False),
    Bar("W2 mixed 32 requests S, total tokens/s", "W2", "total_tps", 1.7, "2.2"),
    Bar("W3 shared 1,024-token prefix, all at once, total tokens/s", "W3", "total_tps", 1.5, "2.5"),
    Bar("W3 shared prefix, first ahead, total tokens/s", "W3s", "total_tps", 1.5, "2.5"),
    Bar("W4 small model T, 256 requests, total tokens/s", "W4", "total_tps", 2.0, "3"),
    Bar("int8 weights, W1 decode tokens/s", "W1", "decode_tps", 1.3, "bandwidth", "int8"),
    Bar("int4 weights, W1 decode tokens/s", "W1", "decode_tps", 1.6, "bandwidth", "int4"),
    Bar("int8 weights, W2 total tokens/s", "W2", "total_tps", 1.5, "2", "int8"),
    Bar("int4 weights, W2 total tokens/s", "W2", "total_tps", 1.5, "2", "int4"),
    Bar("start to ready, warm, S", "W1", "start", 1.0, "", more_is_better=False, beside=("llamacpp",)),
    Bar(
        "resident memory on S bf16 (1/1.3 of llama.cpp's or better)",
        "W1",
        "memory",
        1 / 1.3,
        "1/1.1",
        more_is_better=False,
        beside=("llamacpp",),
    ),
)
DECODE_SHARE = 0.8
"""Of the measured bandwidth, at least, that decoding a single stream has to reach."""


def label(engine: str, precision: str) -> str:
    """Return the name of an engine at a precision, as results have it."""
    return engine if precision == "bf16" else f"{engine}-{precision}"


def judge(bar: Bar, summary: Summary, engines: Mapping[str, tuple[str, str]]) -> Verdict:
    """Set medians side by side.

    Args:
        bar: the demand.
        summary: of the run.
        engines: name and precision by label.
    """
    measured = summary.get(bar.workload, {})
    ours = measured.get(label(OURS, bar.precision), {}).get(bar.metric)
    others = {
        one: figures[bar.metric]
        for one, figures in measured.items()
        if bar.metric in figures
        and engines[one][1] == bar.precision
        and engines[one][0] != OURS
        and (not bar.beside or engines[one][0] in bar.beside)
    }
    if not others:
        return Verdict(bar, ours, None, "", None)
    choose = max if bar.more_is_better else min
    name = choose(others, key=lambda one: others[one].median)
    best = others[name]
    ratio = None
    if ours is not None and ours.median and best.median:
        ratio = ours.median / best.median if bar.more_is_better else best.median / ours.median
    return Verdict(bar, ours, best, name, ratio)
