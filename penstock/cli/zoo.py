"""``penstock zoo``: the small models that the project trains itself."""

from __future__ import annotations

import argparse
import importlib

from penstock.cli.parser import Parser, Verbs, add_verb, add_verbs

_HELP = "List, train, evaluate or talk to the models that the project trains itself."
_TEXT = """
examples:
  penstock zoo list
  penstock zoo eval                       skills of the bundled model, measured
  penstock zoo train --recipe chat        make it anew from nothing (about an hour)
"""

_TOOLS = {
    "train": ("penstock.zoo.train", "Train a model from its recipe; a stopped run can be continued."),
    "eval": ("penstock.zoo.evaluate", "Measure the skills of a model on questions it has not seen."),
    "chat": ("penstock.zoo.chat", "Talk to a model through transformers, the reference implementation."),
}


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb and the verbs below it; train, eval and chat take the flags of their own modules."""
    parser = verbs.add_parser("zoo", help=_HELP, description=f"{_HELP}\n\n{_TEXT.strip()}")
    tools = add_verbs(parser, "tools")
    add_verb(tools, "list", run_list, "List the recipes and the models that are shipped.", "")
    for name, (_, text) in _TOOLS.items():
        tool = tools.add_parser(name, help=text, add_help=False)
        tool.takes_rest = True
        tool.set_defaults(run=run_tool, parser=tool)


def run_list(args: argparse.Namespace) -> int:
    """Print the catalogue."""
    from rich.console import Console
    from rich.table import Table

    from penstock.zoo.catalog import catalog

    table = Table(title="Models of the zoo", title_justify="left")
    for column in ("recipe", "model", "parameters", "training tokens", "shipped in"):
        table.add_column(column, overflow="fold")
    for entry in catalog():
        size, tokens = f"{entry.parameters / 1e6:.1f} M", f"{entry.tokens / 1e6:.0f} M"
        table.add_row(entry.recipe, entry.model, size, tokens, str(entry.folder or "not shipped"))
    Console().print(table)
    return 0


def run_tool(args: argparse.Namespace) -> int:
    """Hand the remaining words to a module of the zoo."""
    status: int = importlib.import_module(_TOOLS[args.tools][0]).main(args.rest)
    return status
