"""``penstock zoo``: the small models that the project trains itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from penstock.cli.parser import Parser, Verbs, add_verb, add_verbs
from penstock.core.errors import ConfigError
from penstock.zoo.exams.flags import FlagError, add_flags

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.table import Table

    from penstock.zoo.exams.plan import Room
    from penstock.zoo.shelf import Item

_HELP = "List, train, evaluate or talk to the models that the project trains itself."
_TEXT = """
examples:
  penstock zoo list
  penstock zoo eval                       the whole zoo, measured on questions it has not seen
  penstock zoo train --model chat         make the bundled model anew from nothing
"""

_EVAL = "Measure the models on questions they have not seen, with 95 % intervals."
_EVAL_TEXT = """
Without flags the bundled chat model sits every exam (each skill; recall over context and depth; what the
project set itself; controls), its helpers theirs (draft, adapters, ranker, embedder), and the other chat
models the skills. Answers are greedy and come from Penstock's own engine; --reference takes transformers.

examples:
  penstock zoo eval --quick                       a glance
  penstock zoo eval --json report.json --plot recall.png
  penstock zoo eval --skills copying lists --failures
  penstock zoo eval --model small ./my-run --parts skills grid
  penstock zoo eval --model chat --with quantization=int4 kv_cache_dtype=int8
"""

_TRAIN = "Train a model from its recipe; a stopped run can be continued."
_CHAT = "Talk to a model through transformers, the reference (`penstock chat` takes the engine)."


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb and the verbs below it; train and chat take the flags of their own modules."""
    parser = verbs.add_parser("zoo", help=_HELP, description=f"{_HELP}\n\n{_TEXT.strip()}")
    tools = add_verbs(parser, "tools")
    add_verb(tools, "list", run_list, "List models and adapters, what each is for, and what makes it.", "")
    _add_eval(tools)
    for name, run, text in (("train", run_train, _TRAIN), ("chat", run_chat, _CHAT)):
        tool = tools.add_parser(name, help=text, add_help=False)
        tool.takes_rest = True
        tool.set_defaults(run=run, parser=tool)


def _add_eval(tools: Verbs[Parser]) -> None:
    parser = add_verb(tools, "eval", run_eval, _EVAL, _EVAL_TEXT)
    add_flags(parser)
    parser.add_argument(
        "--with", dest="settings", nargs="+", default=[], metavar="SETTING=VALUE",
        help="settings of the engine for the chat models, to see what a lossy one costs",
    )  # fmt: skip
    parser.add_argument("--reference", action="store_true", help="run the models by transformers (slower)")


def run_eval(args: argparse.Namespace) -> int:
    """Evaluate; a flag that makes no sense raises ConfigError."""
    from penstock.zoo.exams.command import run

    try:
        run(args, _room(args.reference, args.settings))
    except FlagError as error:
        raise ConfigError(error.flag, error.text) from error
    return 0


def _room(reference: bool, settings: Sequence[str]) -> Room:
    """Return what runs the models."""
    if reference:
        from penstock.zoo.evaluate import ReferenceRoom

        if settings:
            raise FlagError("--with", "expected nothing beside --reference, which has no such settings")
        return ReferenceRoom()
    from penstock.bench.examinee import EngineRoom

    pairs = [text.partition("=") for text in settings]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise FlagError("--with", f"expected SETTING=VALUE, got {wrong[0]!r}")
    return EngineRoom(**{name.replace("-", "_"): value for name, _, value in pairs})


def run_list(args: argparse.Namespace) -> int:
    """Print what there is, and what makes it."""
    from rich.console import Console

    from penstock.zoo import shelf

    console = Console()
    console.print(_shelf("Models", shelf.models()))
    console.print(_shelf("Adapters of penstock-chat", shelf.adapters()))
    return 0


def _shelf(title: str, items: Iterable[Item]) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("name", "what it is for", "parameters", "on disk", "made by zoo train --model"):
        right = column in ("parameters", "on disk")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for item in items:
        weights = "" if item.parameters is None else _amount(item.parameters)
        size = "not shipped" if item.size is None else f"{_amount(item.size)}B"
        table.add_row(item.name, item.purpose, weights, size, item.recipe)
    return table


def _amount(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.0f} k"


def run_train(args: argparse.Namespace) -> int:
    """Hand the remaining words to the trainers; the ranker's lies above the zoo."""
    from penstock.zoo.train import main

    return main(args.rest, {"ranker": "penstock.predict.recipe"})


def run_chat(args: argparse.Namespace) -> int:
    """Hand the remaining words to the chat by transformers."""
    from penstock.zoo.chat import main

    return main(args.rest)
