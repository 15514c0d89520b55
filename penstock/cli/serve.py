"""``penstock serve``: start the OpenAI-compatible server."""

from __future__ import annotations

import argparse

from penstock.cli.parser import Parser, Verbs, add_verb
from penstock.config.flags import add_flags, config_from_args

_TEXT = """
Loads the model, plans memory, prints its decisions and its address, and answers the OpenAI API until it is
told to stop; Ctrl-C or SIGTERM lets running requests finish first.

examples:
  penstock serve                                        the bundled chat model, nothing to download
  penstock serve /models/llama-3.2-1b --dtype bfloat16
  penstock serve org/model --port 9000 --api-key secret --max-model-len 8192
  penstock serve --config penstock.toml --max-num-seqs 32
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "serve", run, "Start the OpenAI-compatible HTTP server.", _TEXT, "[MODEL]")
    add_model_argument(parser)
    add_flags(parser)


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add the optional positional model, the same setting as ``--model``."""
    parser.add_argument(
        "positional_model",
        metavar="MODEL",
        nargs="?",
        help="local folder or hub name of a model (same as --model) [default: the bundled chat model]",
    )


def take_model_argument(args: argparse.Namespace) -> None:
    """Turn the positional model into the setting, unless the flag names another one too."""
    if args.positional_model is None:
        return
    flag = getattr(args, "model.model", None)
    if flag is not None and flag != args.positional_model:
        args.parser.error(f"the model is named twice: {args.positional_model} and --model {flag}")
    setattr(args, "model.model", args.positional_model)


def run(args: argparse.Namespace) -> int:
    """Serve until stopped."""
    take_model_argument(args)
    config = config_from_args(args)
    from penstock.server import run_server

    run_server(config)
    return 0
