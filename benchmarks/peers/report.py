"""The tables of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .bars import BARS, DECODE_SHARE, OURS, Verdict, judge
from .figures import Spread, Summary

_UNITS = {"ttft": 1e3, "itl": 1e3, "memory": 2**-30}
_COLUMNS = (
    ("total_tps", "total tok/s"),
    ("output_tps", "output tok/s"),
    ("ttft", "TTFT ms"),
    ("itl", "gap ms"),
    ("decode_tps", "decode tok/s"),
    ("memory", "peak GiB"),
    ("start", "start s"),
)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(metric: str, found: Spread | None) -> str:
    """Return median and range in the unit of the table."""
    if found is None:
        return "-"
    low, middle, high = (
        _number(value * _UNITS.get(metric, 1.0)) for value in (found.low, found.median, found.high)
    )
    return middle if found.count == 1 else f"{middle} [{low}..{high}]"


def workload_rows(
    workload: str, summary: Summary, shares: Mapping[str, Mapping[str, float]]
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of the engines that finished a workload, the fastest first.

    Args:
        workload: its name.
        summary: of the run.
        shares: by engine, median share of the limit; see `limits.shares`.
    """
    kinds = [kind for kind in ("whole", "decode", "prefill") if any(kind in one for one in shares.values())]
    header = ["engine", "n", *(title for _, title in _COLUMNS), *(f"{kind} % of limit" for kind in kinds)]
    engines = sorted(summary[workload].items(), key=lambda pair: -pair[1]["total_tps"].median)
    rows = []
    for name, figures in engines:
        parts = shares.get(name, {})
        row = [name, str(figures["total_tps"].count)]
        row += [cell(metric, figures.get(metric)) for metric, _ in _COLUMNS]
        row += [f"{100 * parts[kind]:.0f}" if kind in parts else "-" for kind in kinds]
        rows.append(row)
    return header, rows


def verdict_row(verdict: Verdict) -> list[str]:
    """Return the line of a bar."""
    bar, met = verdict.bar, {True: "yes", False: "NO", None: "-"}[verdict.met]
    best = f"{verdict.best_engine} {cell(bar.metric, verdict.best)}" if verdict.best else "not measured"
    ratio = "-" if verdict.ratio is None else f"{verdict.ratio:.2f}"
    return [bar.title, best, cell(bar.metric, verdict.ours), ratio, f"{bar.least:.2f}", bar.aim, met]


def bar_rows(
    summary: Summary,
    engines: Mapping[str, tuple[str, str]],
    shares: Mapping[str, Mapping[str, Mapping[str, float]]],
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of all bars, also those that the run tells nothing about."""
    header = ["", "best of the others", "penstock", "ratio", "at least", "aim", "met"]
    rows = [verdict_row(judge(bar, summary, engines)) for bar in BARS]
    reached = shares.get("W1", {}).get(OURS, {}).get("decode")
    met = "-" if reached is None else "yes" if reached >= DECODE_SHARE else "NO"
    seen = "-" if reached is None else f"{100 * reached:.0f} %"
    rows.insert(
        1, ["W1 decode, share of bandwidth", "", seen, "", f"{100 * DECODE_SHARE:.0f} %", "95 %", met]
    )
    return header, rows


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def whole_report(result: Mapping[str, Any], summary: Summary) -> str:
    """Return everything that is printed at the end, as Markdown."""
    engines = {name: (one["engine"], one["precision"]) for name, one in result["engines"].items()}
    probe = result["probe"]
    parts = [
        f"Read bandwidth {probe['bandwidth']['median'] / 1e9:.1f} GB/s"
        f" [{probe['bandwidth']['min'] / 1e9:.1f}..{probe['bandwidth']['max'] / 1e9:.1f}], bfloat16 product"
        f" {probe['gemm']['median'] / 1e12:.2f} TFLOP/s ({probe['instructions']})."
    ]
    for workload in summary:
        shares = result["shares"].get(workload, {})
        table = markdown(*workload_rows(workload, summary, shares))
        parts.append(f"### {workload}: {result['workloads'][workload]['title']}\n\n{table}")
    parts.append("### The bars\n\n" + markdown(*bar_rows(summary, engines, result["shares"])))
    if result["failures"]:
        lines = [
            f"- {one['engine']}{', ' + one['workload'] if one.get('workload') else ''}: {one['reason']}"
            for one in result["failures"]
        ]
        parts.append("### Not measured\n\n" + "\n".join(lines))
    return "\n\n".join(parts)
