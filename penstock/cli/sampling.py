"""Sampling flags of the verbs that generate text."""

from __future__ import annotations

import argparse
from typing import Any

from penstock.cli.parser import flag, number

_FLAGS = ("max_tokens", "temperature", "top_p", "top_k", "min_p")


def add_sampling_flags(parser: argparse.ArgumentParser, max_tokens: str) -> argparse._ArgumentGroup:
    """Add the flags; one that is not given leaves the decision to the engine or server.

    Args:
        parser: gets the group.
        max_tokens: what happens without ``--max-tokens``, in words.
    """
    group = parser.add_argument_group("sampling")
    real = number(0, whole=False)
    flag(group, "--max-tokens", None, "N", "most tokens to generate", number(1), max_tokens)
    flag(group, "--temperature", None, "X", "0 takes the most likely token each time", real, "1")
    flag(group, "--top-p", None, "P", "keep the likeliest tokens up to this probability", real, "1")
    flag(group, "--top-k", None, "K", "keep the K likeliest tokens; 0 keeps all", number(0), "0")
    flag(group, "--min-p", None, "P", "drop tokens less likely than P times the likeliest", real, "0")
    text = "text that ends the output; may be repeated"
    group.add_argument("--stop", action="append", default=None, metavar="TEXT", help=text)
    return group


def sampling_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the sampling fields that were given, under their OpenAI names."""
    given = {name: getattr(args, name) for name in (*_FLAGS, "stop")}
    return {name: value for name, value in given.items() if value is not None}
