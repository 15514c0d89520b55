"""``penstock reproduce``: hold the published systems in this package to what their papers say."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.parser import Parser, Verbs, add_verb, flag, number, suggest
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.reproduce.base import Experiment
    from penstock.reproduce.harness import Report, SeedRun

_HELP = "Repeat what the papers of the built-in systems report, and hold it to bars."
_TEXT = """
Each experiment belongs to a row of the acceptance table and is of one kind: property (a theorem over
random runs), simulated (the production scheduler under virtual time) or real (a small model on this machine).
It runs once per seed; a bar is met when the median over the seeds is. Simulated and property runs go side by
side, real ones alone and last. The exit status is 1 if a bar is missed or an experiment fails; a crash in one
does not stop the others. --quick runs small versions in seconds, to see that everything works: its bars are
shown but do not decide the status.

examples:
  penstock reproduce --list                       what there is
  penstock reproduce vtc-overload --quick         one experiment, small
  penstock reproduce 1 4 --kind simulated         rows 1 and 4, no real runs
  penstock reproduce all --output results/ --markdown docs/reproductions.md
  penstock reproduce --from results/reproduce.json --markdown docs/reproductions.md
"""
KINDS = ("simulated", "property", "real")


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "reproduce", run, _HELP, _TEXT, "[NAME|ROW|SYSTEM ...]")
    words = "experiments, rows of the table or systems [default: all]"
    parser.add_argument("wanted", metavar="NAME|ROW|SYSTEM", nargs="*", help=words)
    group = parser.add_argument_group("runs")
    group.add_argument("--list", action="store_true", help="print the experiments and stop")
    flag(group, "--seeds", 5, "N", "runs of each experiment, with seeds 0..N-1", number(1, 1000))
    group.add_argument("--quick", action="store_true", help="small versions; bars do not decide the status")
    text = "only experiments of this kind; may be repeated [default: every kind]"
    group.add_argument("--kind", action="append", choices=KINDS, default=[], help=text)
    text = "processes at once (real runs go alone); 0 runs everything in this process"
    flag(group, "-j --jobs", 2, "N", text, number(0, 64))
    text = "stop a run after so many seconds and count it as failed; 0 never"
    flag(group, "--time-limit", 1800.0, "SECONDS", text, number(0, whole=False))
    text = "import this module first, to find experiments of your own; may be repeated"
    group.add_argument("--module", action="append", default=[], metavar="MODULE", help=text)
    group = parser.add_argument_group("result")
    flag(group, "--output", "", "DIR", "write reproduce.json and pictures into this folder", shown="none")
    flag(group, "--markdown", "", "FILE", "write a page of all results for the docs", shown="none")
    text = "take saved results instead of running; may be repeated, later files win"
    group.add_argument("--from", dest="saved", action="append", default=[], metavar="FILE", help=text)
    group.add_argument("--details", action="store_true", help="print every figure, not only those with bars")
    group.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> int:
    """Run what was asked for, print it, save it."""
    from rich.console import Console

    from penstock.bench.report import envelope
    from penstock.reproduce.harness import choose, run_all
    from penstock.reproduce.output import print_reports, read_results

    experiments = _experiments(args.module)
    chosen, unknown = choose(experiments, args.wanted, args.kind)
    if unknown and not args.saved:
        known = sorted({word for one in experiments.values() for word in (one.name, one.row, one.system)})
        args.parser.error(
            f"no experiment, row or system {unknown[0]!r}{suggest(unknown[0], known)}; see --list"
        )
    if args.list:
        return _print_list(chosen)
    _check_places(args)
    if args.saved:
        reports, result = read_results([Path(name) for name in args.saved])
        names = {one.name for one in chosen} if args.wanted or args.kind else {one.name for one in reports}
        reports = [report for report in reports if report.name in names]
    else:
        seeds = list(range(args.seeds))
        result = envelope("reproduce", {"seeds": seeds, "quick": args.quick, "wanted": args.wanted})
        with _progress(args, chosen, len(seeds)) as on_done:
            reports = run_all(
                chosen,
                seeds,
                quick=args.quick,
                jobs=args.jobs,
                time_limit=args.time_limit,
                modules=args.module,
                on_done=on_done,
            )
    if not reports:
        args.parser.error("nothing to run: no experiment is of that kind; see --list")
    print_reports(reports, Console(emoji=False), details=args.details)
    _write(args, reports, result)
    return _status(reports)


def _experiments(modules: Sequence[str]) -> dict[str, Experiment]:
    from importlib import import_module

    from penstock.reproduce.base import load_all

    for module in modules:
        try:
            import_module(module)
        except ImportError as error:
            raise ConfigError("--module", f"cannot import {module}: {error}") from None
    return load_all()


def _print_list(chosen: Sequence[Experiment]) -> int:
    from rich.console import Console
    from rich.table import Table

    from penstock.reproduce.harness import row_key
    from penstock.reproduce.output import bar_text

    table = Table(title="Experiments", title_justify="left")
    for column in ("row", "experiment", "system", "kind", "what", "bars"):
        table.add_column(column, overflow="fold")
    for one in sorted(chosen, key=lambda one: (row_key(one.row), one.name)):
        bars = "\n".join(f"{bar.figure} {bar_text(bar)}" for bar in one.bars)
        table.add_row(one.row, one.name, one.system, one.kind, one.title, bars)
    Console(emoji=False).print(table)
    return 0


def _check_places(args: argparse.Namespace) -> None:
    """Fail before a long run, not after it."""
    if args.output:
        from penstock.bench.plot import check_plot
        from penstock.bench.report import result_path

        result_path(str(Path(args.output) / "reproduce.json"), "reproduce", "--output")
        check_plot(str(Path(args.output) / "bars.png"))
    if args.markdown and not Path(args.markdown).absolute().parent.is_dir():
        raise ConfigError("--markdown", f"the folder of {args.markdown} does not exist")


@contextmanager
def _progress(
    args: argparse.Namespace, chosen: Sequence[Experiment], seeds: int
) -> Iterator[Callable[[Experiment, SeedRun], None]]:
    """Show a bar that advances once per run; on stderr. Failures are told at once."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True)
    total = sum(1 if one.fixed else seeds for one in chosen)
    with Progress(*columns, console=console, disable=args.no_progress or not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def on_done(one: Experiment, run: SeedRun) -> None:
            bar.update(task, advance=1, description=f"{one.name} seed {run.seed}: {run.seconds:.1f} s")
            if run.error:
                console.print(f"{one.name} seed {run.seed}: {run.error}", style="red", markup=False)

        yield on_done


def _write(args: argparse.Namespace, reports: Sequence[Report], result: dict[str, Any]) -> None:
    from penstock.bench.report import write_result
    from penstock.reproduce.output import as_result, markdown
    from penstock.reproduce.plots import plot_bars, plot_curves

    if args.output:
        folder = Path(args.output)
        write_result(folder / "reproduce.json", result | {"experiments": as_result(reports)})
        plot_bars(reports, folder / "bars.png")
        drawn = [report.name for report in reports if plot_curves(report, folder / f"{report.name}.png")]
        print(f"wrote {folder / 'reproduce.json'}, bars.png{''.join(f', {name}.png' for name in drawn)}")
    if args.markdown:
        page = Path(args.markdown)
        picture = page.with_suffix(".png")
        try:
            plot_bars(reports, picture)
        except ImportError:  # matplotlib is an extra; the page reads well without the picture
            picture = Path()
        page.write_text(markdown(reports, result, picture.name), encoding="utf-8")
        print(f"wrote {page}")


def _status(reports: Sequence[Report]) -> int:
    """Failures always count; bars only where they were run in full."""
    verdicts = [report.verdict for report in reports if not (report.quick and report.verdict == "missed")]
    return int(any(verdict != "met" for verdict in verdicts))
