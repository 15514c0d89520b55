"""An evaluation from flags to tables; whoever calls brings what runs the models."""

import argparse
from importlib.util import find_spec
from typing import Any

from penstock.zoo.exams.flags import FlagError
from penstock.zoo.exams.parts import FEW, OF_CHAT, PARTS, QUESTIONS
from penstock.zoo.exams.plan import Plan, Room, Run, model_folder
from penstock.zoo.exams.report import Report
from penstock.zoo.exams.skills import known
from penstock.zoo.exams.tables import failures, tables


def plan_of(options: argparse.Namespace) -> Plan:
    """Return what the flags (see `flags.add_flags`) ask for.

    Raises:
        FlagError: one of them makes no sense.
    """
    count = (FEW if options.quick else QUESTIONS) if options.questions is None else options.questions
    if count < 1:
        raise FlagError("--questions", f"expected at least 1, got {count}")
    if options.skills and options.parts:
        raise FlagError("--parts", "expected nothing beside --skills, which scores those skills alone")
    parts = ("skills",) if options.skills else options.parts or (OF_CHAT if options.model else PARTS)
    if options.model and (strange := sorted({*parts} - {*OF_CHAT})):
        raise FlagError("--parts", f"{', '.join(strange)} belong to the bundled model; leave --model out")
    if options.plot and "grid" not in parts:
        raise FlagError("--plot", "draws the exam `grid`, which is not among the parts")
    if options.plot and find_spec("matplotlib") is None:
        raise FlagError("--plot", "needs matplotlib (pip install 'penstock[plot]')")
    try:
        models = [model_folder(name) for name in options.model]
    except FileNotFoundError as error:
        raise FlagError("--model", str(error)) from error
    try:
        names = known(options.skills) if options.skills else []
    except KeyError as error:
        raise FlagError("--skills", str(error.args[0])) from error
    return Plan(models, parts, names, count, options.seed, options.context)


def run(options: argparse.Namespace, room: Room, console: Any = None) -> Report:
    """Hold the exams, print and write the report, and return it.

    Args:
        options: of a parser with `flags.add_flags`.
        room: loads and runs the models.
        console: a rich console, standard output by default.

    Raises:
        FlagError: as `plan_of`; nothing was run.
    """
    from rich.console import Console

    console = console or Console()
    plan = plan_of(options)
    with console.status("loading") as status:
        report = Run(plan, room, status.update).hold()
    show(report, console, options.failures)
    if options.json:
        report.save(options.json)
    if options.plot:
        from penstock.zoo.exams.plot import draw

        draw(report.of("grid"), options.plot)
    return report


def show(report: Report, console: Any, wrong: bool = False) -> None:
    """Print the tables of a report; with ``wrong`` also what went wrong."""
    for table in tables(report):
        console.print(table)
    spent = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report.seconds.items())
    console.print(f"seed {report.seed}, run by {report.answerer}: {spent}", markup=False, highlight=False)
    for line in failures(report.rows) if wrong else ():
        console.print(line, markup=False, highlight=False)
