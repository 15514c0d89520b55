"""Configuration files (TOML or JSON) and overrides, merged into a checked `Config`."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.config.fields import by_name, sections
from penstock.config.settings import Config
from penstock.core.errors import ConfigError


def load_config(path: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Build the configuration: defaults, then the file, then the overrides.

    Args:
        path: a ``.toml`` or ``.json`` file with one table per section (``[schedule]``), or None.
        overrides: dotted name -> value, such as ``{"schedule.max_num_seqs": 8}``; numbers may be text.

    Raises:
        ConfigError: unreadable file, unknown name, wrong type or value out of range; it names the field.
    """
    values = {} if path is None else read_file(Path(path))
    for dotted, value in (overrides or {}).items():
        values[dotted] = _field(dotted).convert(value, text=True)
    return _assemble(values)


def read_file(path: Path) -> dict[str, Any]:
    """Read a configuration file into checked values by dotted name.

    Raises:
        ConfigError: see `load_config`.
    """
    values: dict[str, Any] = {}
    for section, table in _parse(path).items():
        if section not in sections():
            raise ConfigError(section, f"unknown section in {path}{_hint(section, sections())}")
        if not isinstance(table, dict):
            raise ConfigError(section, f"expected a table of settings in {path}, got {table!r}")
        for name, value in table.items():
            field = _field(f"{section}.{str(name).replace('-', '_')}")
            values[field.dotted] = field.convert(value)
    return values


def to_dict(config: Config) -> dict[str, Any]:
    """Return the configuration as plain nested values, keys of clients masked, for result files and logs."""
    plain: dict[str, Any] = msgspec.to_builtins(config)
    for name in ("api_key", "admin_api_key"):
        plain["server"][name] = ["***"] * len(getattr(config.server, name))
    return plain


def _parse(path: Path) -> dict[str, Any]:
    if path.suffix not in (".toml", ".json"):
        raise ConfigError("config", f"expected a .toml or .json file, got {str(path)!r}")
    try:
        text = path.read_text(encoding="utf-8")
        parsed = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigError("config", f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError("config", f"{path} is not valid {path.suffix[1:].upper()}: {error}") from None
    if not isinstance(parsed, dict):
        raise ConfigError("config", f"{path} must hold one table per section: {', '.join(sections())}")
    return parsed


def _field(dotted: str) -> Any:
    field = by_name().get(dotted)
    if field is None:
        raise ConfigError(dotted, f"unknown setting{_hint(dotted, by_name())}")
    return field


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are: {', '.join(known)}"


def _assemble(values: Mapping[str, Any]) -> Config:
    tables: dict[str, dict[str, Any]] = {name: {} for name in sections()}
    for dotted, value in values.items():
        section, name = dotted.split(".", 1)
        tables[section][name] = value
    return Config(**{name: struct(**tables[name]) for name, struct in sections().items()})
