"""The keys that are accepted, and the file that names them with their tenants and limits."""

from __future__ import annotations

import datetime
import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from penstock.core.errors import ConfigError
from penstock.server.principal import NO_LIMITS, Limits, Principal

Name = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"^[\x21-\x7e]+$")]
Weight = Annotated[float, Meta(gt=0, le=1e6)]
Priority = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
Entry = TypeVar("Entry")
_LIMITS = tuple(Limits.__struct_fields__)
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


class TenantEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table ``[tenants.NAME]``; the limits are written beside the rest."""

    weight: Weight = 1.0
    priority: Priority = 0
    private_cache: bool = False
    limits: Limits = NO_LIMITS


class KeyEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An item of ``[[keys]]``; `key` or `sha256`, not both."""

    name: Name
    key: Name | None = None
    sha256: str | None = None
    tenant: Name | None = None
    weight: Weight | None = None
    priority: Priority | None = None
    admin: bool = False
    expires: datetime.datetime | None = None
    limits: Limits = NO_LIMITS


class Held(msgspec.Struct, frozen=True):
    """A known key."""

    principal: Principal
    expires: float | None = None
    """Unix seconds from which it is not accepted any more."""


KeyRing = Mapping[bytes, Held]
"""Keys by the SHA-256 of their text. A look-up compares digests, so its time tells nothing of any key."""


def digest(key: str) -> bytes:
    """Return what a key is known by."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def load_keys(path: Path) -> dict[bytes, Held]:
    """Read a keys file (TOML).

    Raises:
        ConfigError: it cannot be read or used; names the line or the field.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("server.keys", f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError("server.keys", f"{path} is not UTF-8 text (byte {error.start})") from None
    return parse_keys(text, str(path))


def parse_keys(text: str, origin: str = "the keys file") -> dict[bytes, Held]:
    """Return the keys that a file's text describes.

    Raises:
        ConfigError: names the line or the field; never quotes a key.
    """
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("server.keys", f"{origin} is not valid TOML: {error}") from None
    for section in parsed:
        if section not in ("keys", "tenants"):
            raise ConfigError(
                "server.keys", f"{origin}: expected [[keys]] and [tenants.NAME], got {section!r}"
            )
    keys, tables = parsed.get("keys", []), parsed.get("tenants", {})
    if not isinstance(keys, list) or not isinstance(tables, dict):
        raise ConfigError("server.keys", f"{origin}: expected [[keys]] and [tenants.NAME]")
    tenants = {
        name: _entry(table, TenantEntry, f"{origin}: [tenants.{name}]") for name, table in tables.items()
    }
    entries = [_entry(table, KeyEntry, f"{origin}: keys[{index}]") for index, table in enumerate(keys)]
    ring: dict[bytes, Held] = {}
    names: set[str] = set()
    for index, entry in enumerate(entries):
        field = f"{origin}: keys[{index}] ({entry.name!r})"
        if entry.name in names:
            raise ConfigError("server.keys", f"{field}: another key has this name")
        mark = _mark(entry, field)
        if mark in ring:
            other = ring[mark].principal.name
            raise ConfigError("server.keys", f"{field}: it is the same key as that of {other!r}")
        names.add(entry.name)
        ring[mark] = Held(_principal(entry, tenants, field), _expiry(entry))
    return ring


def _entry(table: Any, kind: type[Entry], field: str) -> Entry:
    """Return a checked table; its limits, which people write beside the other fields, in one of their own."""
    if isinstance(table, dict) and "limits" not in table:
        rest = {name: _moment(value) for name, value in table.items() if name not in _LIMITS}
        table = rest | {"limits": {name: table[name] for name in _LIMITS if name in table}}
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        where = where.rstrip("`").replace(".limits", "").removeprefix(".")
        raise ConfigError("server.keys", f"{field}{where and ' ' + where}: {what}") from None


def _mark(entry: KeyEntry, field: str) -> bytes:
    if (entry.key is None) == (entry.sha256 is None):
        raise ConfigError("server.keys", f"{field}: expected either 'key' or 'sha256'")
    if entry.key is not None:
        return digest(entry.key)
    if not _DIGEST.fullmatch(entry.sha256 or ""):
        raise ConfigError("server.keys", f"{field}: sha256: expected 64 hexadecimal digits")
    return bytes.fromhex(entry.sha256 or "")


def _principal(entry: KeyEntry, tenants: Mapping[str, TenantEntry], field: str) -> Principal:
    if entry.tenant is not None and entry.tenant not in tenants:
        raise ConfigError("server.keys", f"{field}: tenant: there is no table [tenants.{entry.tenant}]")
    # A key without a tenant is one of its own: nobody else's requests count against it.
    tenant = tenants.get(entry.tenant or entry.name, TenantEntry())
    return Principal(
        name=entry.name,
        tenant=entry.tenant or entry.name,
        weight=tenant.weight if entry.weight is None else entry.weight,
        priority=tenant.priority if entry.priority is None else entry.priority,
        admin=entry.admin,
        private_cache=tenant.private_cache,
        limits=tenant.limits,
        key_limits=entry.limits,
    )


def _moment(value: Any) -> Any:
    """Turn a bare date, which TOML knows beside dates with times, into its midnight."""
    if type(value) is datetime.date:
        return datetime.datetime(value.year, value.month, value.day)
    return value


def _expiry(entry: KeyEntry) -> float | None:
    moment = entry.expires
    if moment is None:
        return None
    if moment.tzinfo is None:  # a bare date says nothing of a zone, and the machine's own would surprise
        moment = moment.replace(tzinfo=datetime.UTC)
    return moment.timestamp()
