"""Workloads by name: ``poisson:rate=4,count=1000``, ``suite:vtc-overload``,
``trace:azure:conv.csv,speed=2``."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from pkgutil import walk_packages
from typing import TypeVar

import msgspec

from penstock.core.errors import ConfigError
from penstock.workload.driver import Driver

Value = int | float | str | bool
Make = Callable[..., Driver]
F = TypeVar("F", bound=Make)
FIELD = "workload"


class Entry(msgspec.Struct, frozen=True):
    """A named workload."""

    name: str
    help: str
    make: Make
    """Called with the seed and keyword parameters."""
    defaults: dict[str, Value]


_ENTRIES: dict[str, Entry] = {}


def workload(name: str, **extra: Value) -> Callable[[F], F]:
    """Register ``make(seed, *, parameter=default...)``; the first line of its docstring is its help.

    Args:
        name: what users type.
        extra: parameters that it takes through ``**``, with their defaults.
    """

    def decorate(make: F) -> F:
        parameters = inspect.signature(make).parameters.values()
        own = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
        text = (make.__doc__ or "").strip().split("\n")[0]
        _ENTRIES[name] = Entry(name, text, make, own | extra)
        return make

    return decorate


def entries() -> dict[str, Entry]:
    """Return all workloads by name."""
    package = import_module("penstock.workload.suites")
    for module in walk_packages(package.__path__, prefix="penstock.workload.suites."):
        import_module(module.name)
    return dict(sorted(_ENTRIES.items()))


def describe() -> dict[str, str]:
    """Return one line of help per workload: what it is, and its parameters with their defaults."""
    return {
        name: f"{entry.help} ({', '.join(f'{key}={value}' for key, value in entry.defaults.items())})"
        for name, entry in entries().items()
    }


def make_workload(name: str, seed: int = 0, **parameters: Value) -> Driver:
    """Return a fresh driver of a named workload.

    Args:
        name: see `describe`.
        seed: of everything drawn.
        parameters: replace defaults; texts are converted to the default's type.

    Raises:
        ConfigError: no such workload or parameter, or a value that makes no sense.
    """
    known = entries()
    entry = known.get(name)
    if entry is None:
        raise ConfigError(FIELD, f"expected one of {', '.join(known)}, got {name!r}")
    values: dict[str, Value] = {}
    for key, value in parameters.items():
        if key not in entry.defaults:
            takes = ", ".join(entry.defaults) or "nothing"
            raise ConfigError(f"{FIELD}.{key}", f"{name} has no such parameter; it takes {takes}")
        values[key] = _convert(key, value, entry.defaults[key])
    return entry.make(seed, **values)


def _convert(key: str, value: Value, default: Value) -> Value:
    kind = type(default)
    if kind is bool:
        found = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
            str(value).lower()
        )
        if found is None:
            raise ConfigError(f"{FIELD}.{key}", f"expected true or false, got {value!r}")
        return found
    try:
        converted = kind(value)
    except ValueError:
        wanted = {int: "a whole number", float: "a number"}.get(kind, "text")
        raise ConfigError(f"{FIELD}.{key}", f"expected {wanted}, got {value!r}") from None
    if kind in (int, float) and not converted >= 0:  # type: ignore[operator]
        raise ConfigError(f"{FIELD}.{key}", f"expected a number >= 0, got {value!r}")
    return converted


def parse_workload(text: str, seed: int = 0, **overrides: Value) -> Driver:
    """Return a fresh driver of a workload given as one word.

    Args:
        text: ``NAME:KEY=VALUE,...``, ``suite:NAME,KEY=VALUE...`` or ``trace:SCHEMA:PATH,KEY=VALUE...``.
        seed: of everything drawn.
        overrides: parameters that win over those in the text, such as a search's ``rate``.

    Raises:
        ConfigError: unreadable, or as `make_workload`.
    """
    name, parameters = split_workload(text)
    return make_workload(name, seed, **(parameters | overrides))


def split_workload(text: str) -> tuple[str, dict[str, Value]]:
    """Return a workload's name and its parameters as written."""
    name, _, rest = text.partition(":")
    if name == "suite":
        name, _, rest = rest.partition(",")
    elif "," in name:  # a suite without its kind: vtc-overload,duration=60
        name, _, rest = text.partition(",")
    parts = [part for part in rest.split(",") if part]
    parameters: dict[str, Value] = {}
    if name == "trace":
        where = []
        known = entries()["trace"].defaults
        while parts and parts[0].partition("=")[0] not in known:
            where.append(parts.pop(0))  # a path may hold commas
        parameters["path"] = ",".join(where)
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(FIELD, f"expected KEY=VALUE after the name, got {part!r} in {text!r}")
        parameters[key.strip()] = value.strip()
    return name, parameters
