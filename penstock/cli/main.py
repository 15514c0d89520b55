"""Entry of the `penstock` command."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from penstock.cli.parser import Parser, add_verbs
from penstock.core.errors import PenstockError
from penstock.engine.spin import SPIN_LESS

VERBS = (
    "serve",
    "generate",
    "chat",
    "run_batch",
    "bench",
    "simulate",
    "tune",
    "calibrate",
    "rank",
    "reproduce",
    "zoo",
    "collect_env",
)
"""Modules of this package, each with ``add(verbs)``, in the order of the help."""

_DESCRIPTION = """Penstock runs open language models: an inference engine and an OpenAI-compatible server."""

_EXAMPLES = """examples:
  penstock serve                                  the bundled chat model at http://127.0.0.1:8000
  penstock serve /models/llama-3.2-1b --port 9000
  penstock chat                                   talk to a model in this terminal
  penstock generate "Once upon a time"
  penstock run-batch -i requests.jsonl -o answers.jsonl
  penstock bench serve --base-url http://127.0.0.1:8000 --request-rate 4 --goodput ttft:500,tpot:100
  penstock simulate --model llama-3.1-70b --hardware h100 --tp 8 --workload poisson:rate=4,count=1000

`penstock VERB --help` explains a verb and every flag it takes, with defaults and units.
"""


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *args: object) -> None:
        print(f"penstock {metadata.version('penstock')}")
        parser.exit(0)


def build_parser() -> Parser:
    """Return the parser with all verbs and flags."""
    parser = Parser(prog="penstock", description=_DESCRIPTION, epilog=_EXAMPLES)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and stop")
    verbs = add_verbs(parser)
    for name in VERBS:
        importlib.import_module(f"penstock.cli.{name}").add(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Returns:
        0 on success; 1 when something failed that no setting would mend; 2 for a setting, request or
        file that cannot be used; 130 when interrupted.
    """
    for name, value in SPIN_LESS.items():
        os.environ.setdefault(name, value)
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [word for word in given if word != "--debug"]
    try:
        args, leftover = build_parser().parse_known_args(given)
        if args.parser.takes_rest:
            args.rest = leftover
        else:
            args.parser.refuse_unknown(leftover)
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone; what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PenstockError as error:
        if debug:
            raise
        return _fail(str(error), 2)
    except Exception as error:
        if debug:
            raise
        text = " ".join(str(error).split()) or "no further detail"
        return _fail(f"{type(error).__name__}: {text[:500]} (--debug shows where)", 1)


def _fail(message: str, status: int) -> int:
    sys.stdout.flush()
    print("penstock: " + " ".join(message.split()), file=sys.stderr)
    return status
