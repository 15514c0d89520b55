"""Command-line flags generated from the settings, plus the names that other servers made familiar.

Every setting has two spellings, ``--schedule.max-num-seqs`` and ``--max-num-seqs``. Flags that are not given
leave no trace in the namespace, so that a configuration file is overridden only by what was typed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from penstock.config.fields import Field, all_fields, by_name, sections
from penstock.config.load import load_config
from penstock.config.settings import Config
from penstock.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Alias:
    """A foreign flag that sets one of our settings."""

    flags: tuple[str, ...]
    target: str
    """Dotted name of the setting."""
    convert: Callable[[str], str] | None = None
    """Turns the given text into the setting's text; None passes it on."""
    merge: Callable[[str, str], str] | None = None
    """Turns the given text and the setting's text so far into the setting's text."""
    const: Any = None
    """A flag without value sets this."""

    @property
    def same_as(self) -> str:
        """Our own spelling of what it does."""
        flag = by_name()[self.target].flag
        if self.const is None:
            return flag
        return flag.replace("--", "--no-", 1) if self.const is False else f"{flag} {self.const}"


def _order(text: str) -> str:
    """Translate vLLM's policy names; ours pass through."""
    return {"priority": "priority > fcfs"}.get(text, text)


_BOUND = re.compile(r"queue-bound\((?P<limit>\d+)(?:, *tokens=(?P<tokens>\d+))?\)")


def _queue_bound(name: str) -> Callable[[str, str], str]:
    """Return what sets one bound of the queue (``limit`` or ``tokens``) and leaves the other."""
    flag = {"limit": "--max-num-queued-reqs", "tokens": "--max-num-queued-tokens"}[name]

    def merge(text: str, so_far: str) -> str:
        if not text.isdecimal() or int(text) < 1:
            raise ConfigError(flag, f"expected a whole number >= 1, got {text!r}")
        found = _BOUND.fullmatch(so_far)
        if found is None:
            raise ConfigError(flag, f"bounds the admit policy queue-bound, and {so_far!r} was chosen")
        bounds = {**found.groupdict(), name: text}
        tokens = f", tokens={bounds['tokens']}" if bounds["tokens"] else ""
        return f"queue-bound({bounds['limit']}{tokens})"

    return merge


ALIASES = (
    Alias(("--gpu-memory-utilization", "--mem-fraction-static"), "cache.memory_fraction"),
    Alias(("--page-size",), "cache.block_size"),
    Alias(("--disable-radix-cache",), "cache.enable_prefix_caching", const=False),
    Alias(("--scheduling-policy",), "schedule.order", convert=_order),
    Alias(("--max-running-requests",), "schedule.max_num_seqs"),
    Alias(("--max-num-queued-reqs",), "schedule.admit", merge=_queue_bound("limit")),
    Alias(("--max-num-queued-tokens",), "schedule.admit", merge=_queue_bound("tokens")),
    Alias(("--enable-chunked-prefill",), "schedule.shape", const="chunked"),
    Alias(("--no-enable-chunked-prefill",), "schedule.shape", const="prefill-first"),
    Alias(("--model-path",), "model.model"),
    Alias(("--tokenizer-path",), "model.tokenizer"),
    Alias(("--context-length",), "model.max_model_len"),
    Alias(("--attention-backend",), "model.attention"),
    Alias(("--enforce-eager",), "model.cuda_graphs", const=False),
    Alias(("--shutdown-timeout",), "server.drain_timeout"),
    Alias(("--timeout-keep-alive",), "server.keep_alive_timeout"),
    Alias(("--limit-concurrency",), "server.max_connections"),
    Alias(("--fastapi-root-path",), "server.root_path"),
    Alias(("--uvicorn-log-level",), "server.log_level"),
)


HEADINGS = {
    "server.inproc": "processes and times",
    "server.max_connections": "bounds",
    "server.tool_call_parser": "answers",
    "server.allowed_origins": "browsers, logs and records",
}
"""Settings that begin a group of their own in the help of their section."""


class _Store(argparse.Action):
    """Store the alias's value under the dotted name of its target."""

    def __init__(self, *args: Any, alias: Alias, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.alias = alias

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        value = self.alias.const
        if self.nargs != 0:
            value = self.alias.convert(values) if self.alias.convert else values
        if self.alias.merge:
            so_far = getattr(namespace, self.dest, by_name()[self.dest].default)
            value = self.alias.merge(values, so_far)
        setattr(namespace, self.dest, value)


_MOST_CHOICES = 8
"""Choices that are shown where the value stands; more stand in the text, where lines can be broken."""


def _with_size(count: int, text: str) -> str:
    """Return a number of bytes with its size in words, if that is a round one."""
    for shift, name in ((30, "GiB"), (20, "MiB")):
        if count >= 1 << shift and count % (1 << shift) == 0:
            return f"{text} = {count >> shift} {name}"
    return text


def help_line(field: Field) -> str:
    """Return description, range, unit and default of a setting in one line of help."""
    what = " ".join(part for part in (field.limits, field.unit) if part)
    default = field.default_text + ("; may be repeated" if field.repeated else "")
    if field.unit == "bytes":
        default = _with_size(field.default, default)
    words = f" One of {', '.join(field.choices)}." if len(field.choices) > _MOST_CHOICES else ""
    text = f"{field.description}.{words}" if words else field.description
    text = f"{text} [{what + '; ' if what else ''}default: {default}]"
    return text.replace("%", "%%")


def add_flags(parser: argparse.ArgumentParser, *, only: Iterable[str] = tuple(sections())) -> None:
    """Add ``--config`` and one flag per setting of the chosen sections to a parser.

    Args:
        parser: gets one argument group per section.
        only: sections to offer.
    """
    wanted = tuple(only)
    parser.add_argument("--config", metavar="FILE", default=None, help="TOML or JSON file; flags override it")
    groups: dict[str, Any] = {}
    for section in wanted:
        about = (sections()[section].__doc__ or "").strip()
        group = parser.add_argument_group(f"{section} settings", f"{about} Also as --{section}.FLAG.")
        for field in all_fields():
            if field.section == section:
                if field.dotted in HEADINGS:
                    group = parser.add_argument_group(f"{section} settings: {HEADINGS[field.dotted]}")
                groups[field.dotted] = group
                _add_field(group, field)
    for alias in ALIASES:
        if alias.target in groups:
            _add_alias(groups[alias.target], alias)


def config_from_args(args: argparse.Namespace) -> Config:
    """Build the configuration that a command line describes, parsed by a parser that `add_flags` prepared.

    Raises:
        ConfigError: see `load_config`.
    """
    given = {name: value for name, value in vars(args).items() if name in by_name()}
    return load_config(args.config, given)


def _add_field(group: Any, field: Field) -> None:
    names = (field.flag, f"--{field.section}.{field.flag[2:]}")
    options: dict[str, Any] = {"dest": field.dotted, "default": argparse.SUPPRESS, "help": help_line(field)}
    if field.base is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif field.repeated:
        options |= {"action": "append", "metavar": "TEXT"}
    elif field.choices:
        shown = len(field.choices) <= _MOST_CHOICES
        options["metavar"] = "{" + ",".join(field.choices) + "}" if shown else "NAME"
    else:
        options["metavar"] = {int: "N", float: "X", str: "TEXT"}[field.base]
    group.add_argument(*names, **options)


def _add_alias(group: Any, alias: Alias) -> None:
    group.add_argument(
        *alias.flags,
        action=_Store,
        alias=alias,
        dest=alias.target,
        default=argparse.SUPPRESS,
        nargs=None if alias.const is None else 0,
        metavar="VALUE" if alias.const is None else None,
        help=f"same as {alias.same_as}" if alias.merge is None else f"sets that number in {alias.same_as}",
    )
