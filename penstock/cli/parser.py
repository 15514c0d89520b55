"""Argparse, taught to answer mistakes in one line and to show examples as they were written."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Verbs = argparse._SubParsersAction
"""What `add_verbs` returns and every verb module adds itself to."""


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of descriptions and examples; uses the width of the terminal, up to 110."""

    def __init__(self, prog: str) -> None:
        width = min(110, max(60, shutil.get_terminal_size((100, 24)).columns))
        super().__init__(prog, max_help_position=34, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Show ``--flag, --other N``: the value once, and no ``--section.flag`` twin of a ``--flag``."""
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(name for name in action.option_strings if "." not in name)
        value = "" if action.nargs == 0 else self._format_args(action, action.dest.upper())
        return f"{names} {value}".strip()


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line with what to do, status 2, and no usage block."""

    takes_rest = False
    """Words that are not understood go to ``args.rest`` instead of being refused."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", HelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 2."""
        match = re.match(r"argument (?:\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)", message)
        if match:
            given, known = match.group(1), re.findall(r"[\w-]+", match.group(2))
            message = f"unknown verb {given!r}{suggest(given, known)}"
        sys.stderr.write(f"{self.prog}: {' '.join(message.split())} (see `{self.prog} --help`)\n")
        raise SystemExit(2)

    def refuse_unknown(self, leftover: Sequence[str]) -> None:
        """Exit with status 2 if words were left over, naming the flag that was probably meant."""
        if leftover:
            known = [flag for action in self._actions for flag in action.option_strings]
            word = leftover[0].split("=")[0]
            kind = "flag" if word.startswith("-") else "word"
            self.error(f"unknown {kind} {word}{suggest(word, known) if kind == 'flag' else ''}")


def suggest(word: str, known: Sequence[str]) -> str:
    """Return ``; did you mean ...?`` when a known word is close, else the list if it is short."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are: {', '.join(known)}" if len(known) < 12 else ""


def add_verbs(parser: argparse.ArgumentParser, title: str = "verbs") -> Verbs[Parser]:
    """Add a required group of verbs to a parser."""
    return parser.add_subparsers(title=title, metavar="VERB", required=True, dest=title, parser_class=Parser)


def add_verb(
    verbs: Verbs[Parser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    text: str,
    words: str = "",
) -> Parser:
    """Add a verb and return its parser.

    Args:
        verbs: from `add_verbs`.
        name: the word.
        run: takes the namespace, returns the exit status.
        help: one sentence for the list of verbs.
        text: what it does, more fully, and examples.
        words: positional arguments, for the usage line.
    """
    parser = verbs.add_parser(name, help=help.replace("%", "%%"), description=f"{help}\n\n{text.strip()}")
    # The generated usage would list some fifty flags before the first word of explanation.
    parser.usage = f"{parser.prog}{' ' + words if words else ''} [flags]"
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument("--debug", action="store_true", help="show stack traces")
    return parser


def flag(
    group: argparse._ActionsContainer,
    names: str,
    default: Any,
    metavar: str,
    help: str,
    type: Callable[[str], Any] = str,
    shown: str = "",
) -> None:
    """Add a flag with a value; its help ends in the default.

    Args:
        group: parser or group.
        names: the flag, and other spellings of it, separated by spaces.
        default: value when it is not given.
        metavar: stands for the value in the help.
        help: what it is for.
        type: converts the text, see `number`.
        shown: default in words, where the value alone says too little.
    """
    text = f"{help} [default: {shown or default}]".strip().replace("%", "%%")
    group.add_argument(*names.split(), default=default, metavar=metavar, type=type, help=text)


def number(low: float, high: float = float("inf"), *, whole: bool = True) -> Callable[[str], Any]:
    """Return an argparse type: a number within ``[low, high]``."""

    def convert(text: str) -> float | int:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            bound = f">= {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
            raise argparse.ArgumentTypeError(f"expected {kind} {bound}, got {text!r}")
        return value

    return convert
