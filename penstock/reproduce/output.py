"""What experiments came to: tables, a result file, a page for the docs and pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import ConfigError
from penstock.reproduce.base import Bar
from penstock.reproduce.harness import Judged, Report, row_key

if TYPE_CHECKING:
    from rich.console import Console

KINDS = {
    "property": "property test over random runs",
    "simulated": "SIMULATED: the production scheduler under virtual time",
    "real": "real: a small model on this machine",
}


def number(value: float | None) -> str:
    """Return a figure as a reader wants it: four significant digits, whole numbers whole."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.4g}"


def bar_text(bar: Bar) -> str:
    """Return what is asked, like ``>= 1.8``."""
    signs = ((">=", bar.floor), ("<=", bar.ceiling))
    return " and ".join(f"{sign} {number(limit)}" for sign, limit in signs if limit is not None) or "-"


def spread(values: Sequence[float]) -> str:
    """Return the range of several values, or nothing for one."""
    return f"{number(min(values))} .. {number(max(values))}" if len(set(values)) > 1 else ""


def print_reports(reports: Sequence[Report], console: Console, *, details: bool = False) -> None:
    """Print bars met and missed, what failed and, on request, every other figure."""
    from rich.table import Table

    table = Table(
        title="Bars: the median over seeds (and their range)", title_justify="left", padding=(0, 0, 0, 1)
    )
    table.add_column("experiment", overflow="fold", ratio=4)
    table.add_column("figure", overflow="fold", ratio=4)
    table.add_column("ours", justify="right", overflow="fold", ratio=3)
    table.add_column("asked", justify="right", overflow="fold", ratio=2)
    table.add_column("the paper's", overflow="fold", ratio=4)
    table.add_column("", no_wrap=True)
    for report in sorted(reports, key=lambda one: (row_key(one.row), one.name)):
        first = f"{report.row}. {report.name} ({report.kind})"
        for judged in report.judged():
            figure, ours, between, asked, paper = _cells(report, judged)
            ours = f"{ours} [dim]({between})[/]" if between else ours
            table.add_row(first, figure, ours, asked, paper, _verdict(report, judged))
            first = ""
        if not report.bars:
            table.add_row(first, "no bar", "", "", "", "[red]failed[/]" if report.errors() else "")
    console.print(table)
    for report in reports:
        for error in report.errors():
            console.print(f"{report.name} failed: {error}", style="red", markup=False)
    if details:
        for report in reports:
            print_figures(report, console)


def _cells(report: Report, judged: Judged) -> tuple[str, ...]:
    values = report.values(judged.bar.figure)
    return (
        judged.bar.figure,
        number(judged.median),
        spread(values),
        bar_text(judged.bar),
        judged.bar.paper,
    )


def _verdict(report: Report, judged: Judged) -> str:
    if judged.median is None:
        return "[red]failed[/]"
    if judged.met:
        return "[green]met[/]"
    return "[yellow]quick[/]" if report.quick else "[red]MISSED[/]"


def print_figures(report: Report, console: Console) -> None:
    """Print every figure of one experiment."""
    from rich.table import Table

    seconds = sum(run.seconds for run in report.runs)
    title = f"{report.name}: {report.title} ({KINDS[report.kind]}; {len(report.runs)} runs, {seconds:.0f} s)"
    console.print(title, markup=False, highlight=False)
    table = Table()
    table.add_column("figure", overflow="fold")
    table.add_column("median", justify="right")
    table.add_column("min .. max", justify="right")
    for name in report.figures():
        values = report.values(name)
        table.add_row(name, number(statistics.median(values)), spread(values))
    console.print(table)


def as_result(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """Return the experiments as plain values that JSON can hold; what is not a number becomes a word."""
    found = []
    for report in reports:
        plain: dict[str, Any] = msgspec.to_builtins(report)
        for run in plain["runs"]:
            run["figures"] = {k: v if math.isfinite(v) else str(v) for k, v in run["figures"].items()}
        plain["verdict"] = report.verdict
        plain["summary"] = {
            name: {
                "median": _plain(statistics.median(values)),
                "min": _plain(min(values)),
                "max": _plain(max(values)),
            }
            for name in report.figures()
            if (values := report.values(name))
        }
        found.append(plain)
    return found


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def read_results(paths: Sequence[Path]) -> tuple[list[Report], dict[str, Any]]:
    """Read saved results; a later file's experiment replaces an earlier one's. Returns the last envelope too.

    Raises:
        ConfigError: a file cannot be read or is no result of `penstock reproduce`.
    """
    reports: dict[str, Report] = {}
    envelope: dict[str, Any] = {}
    for path in paths:
        try:
            envelope = msgspec.json.decode(path.read_bytes(), type=dict)
            found = msgspec.convert(envelope["experiments"], type=list[Report], strict=False)
        except OSError as error:
            raise ConfigError("--from", f"cannot read {path}: {error.strerror}") from None
        except (KeyError, msgspec.MsgspecError) as error:
            raise ConfigError("--from", f"{path} is no result of penstock reproduce: {error}") from None
        reports |= {report.name: report for report in found}
    return list(reports.values()), envelope


def markdown(reports: Sequence[Report], envelope: Mapping[str, Any], picture: str = "") -> str:
    """Return the page of reproductions.

    Args:
        reports: what to list.
        envelope: of the result file: date, versions, machine.
        picture: link to the picture of all bars; empty leaves it out.
    """
    machine, versions = envelope.get("machine", {}), envelope.get("versions", {})
    where = f"{machine.get('cpu', 'unknown CPU')}, {machine.get('cores_usable', '?')} cores"
    met = sum(report.verdict == "met" for report in reports)
    lines = [
        "# Reproductions",
        "",
        "Generated by `penstock reproduce --markdown`; do not edit. What each published system claims,"
        " what the project asks of it, and what came out.",
        "",
        f"Date {str(envelope.get('date', ''))[:10]}, Python {versions.get('python', '?')},"
        f" commit {versions.get('commit', '?')}, {where}."
        f" {met} of {len(reports)} experiments meet every bar.",
        "",
        "*Simulated* figures come from the production scheduler under virtual time with a cost model of the"
        " hardware named; *real* ones from a small model on the machine above; *property* ones from random"
        " runs of a theorem. Ours is the median over the seeds, with the range in brackets.",
        "",
    ]
    if picture:
        lines += [f"![bars]({picture})", ""]
    for report in sorted(reports, key=lambda one: (row_key(one.row), one.name)):
        seeds = ", ".join(str(run.seed) for run in report.runs)
        lines += [
            f"## {report.row}. {report.system}: {report.title}",
            "",
            f"`penstock reproduce {report.name}` ({report.kind}; seeds {seeds}"
            f"{'; quick' if report.quick else ''}): **{report.verdict}**",
            "",
        ]
        if report.bars:
            lines += ["| figure | ours | asked | the paper's | |", "|---|---|---|---|---|"]
            lines += [_markdown_row(report, judged) for judged in report.judged()]
            lines.append("")
        lines += [f"Failed: {error}\n" for error in report.errors()]
    return "\n".join(lines)


def _markdown_row(report: Report, judged: Judged) -> str:
    figure, ours, between, asked, paper = _cells(report, judged)
    ours = f"{ours} [{between}]" if between else ours
    cells = (f"`{figure}`", ours, asked, paper or "-", "met" if judged.met else "**missed**")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
