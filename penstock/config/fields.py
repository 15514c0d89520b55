"""One description per setting, read from the annotations of the settings structs.

Flags, files and the documentation all work from this list, so a field added to `settings` appears in each.
"""

from __future__ import annotations

import functools
import typing
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import ConfigError

_NOUNS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


@dataclass(frozen=True, slots=True)
class Field:
    """A setting: where it lives, what it accepts and what it is for."""

    section: str
    """Field of `Config` that holds it, such as model or server."""
    name: str
    annotation: Any
    """The whole ``Annotated[...]`` type, which msgspec checks values against."""
    base: Any
    """The type without its metadata: int, float, str, bool, a Literal or a tuple."""
    default: Any
    description: str
    unit: str
    limits: str
    """Range in words, like ``>= 1 and <= 64``; empty when every value of the type is fine."""

    @property
    def dotted(self) -> str:
        """Name in files and messages: ``schedule.max_num_seqs``."""
        return f"{self.section}.{self.name}"

    @property
    def choices(self) -> tuple[str, ...]:
        """Accepted words, or nothing when the field is not a choice."""
        return typing.get_args(self.base) if typing.get_origin(self.base) is Literal else ()

    @property
    def repeated(self) -> bool:
        """Whether it holds several values."""
        return typing.get_origin(self.base) is tuple

    @property
    def flag(self) -> str:
        """Familiar short flag: ``--max-num-seqs``."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default as a person would write it; empty text and lists are named so."""
        if isinstance(self.default, bool):
            return "on" if self.default else "off"
        return "none" if self.default == () else str(self.default) or "empty"

    @property
    def expected(self) -> str:
        """What a value must be, in words, for messages and help."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        noun = "a list of texts" if self.repeated else _NOUNS[self.base]
        return " ".join(part for part in (noun, self.limits) if part)

    def convert(self, value: Any, *, text: bool = False) -> Any:
        """Check a value against the field's type and range.

        Args:
            value: the value as a file, a flag or a caller gave it.
            text: accept numbers spelt as text, as flags do.

        Raises:
            ConfigError: it does not fit; the message says what is expected and how to set it.
        """
        try:
            return msgspec.convert(value, self.annotation, strict=not text)
        except msgspec.ValidationError:
            message = f"expected {self.expected}, got {value!r}; set it with {self.flag}"
            raise ConfigError(self.dotted, message) from None


def _limits(meta: msgspec.Meta) -> str:
    signs = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
    bounds = [f"{sign} {getattr(meta, name):g}" for name, sign in signs if getattr(meta, name) is not None]
    return " and ".join(bounds)


def _fields_of(section: str, struct: type) -> list[Field]:
    hints = typing.get_type_hints(struct, include_extras=True)
    found = []
    for info in msgspec.structs.fields(struct):
        base, *metas = typing.get_args(hints[info.name])
        meta = next(item for item in metas if isinstance(item, msgspec.Meta))
        found.append(
            Field(
                section=section,
                name=info.name,
                annotation=hints[info.name],
                base=base,
                default=info.default,
                description=meta.description or "",
                unit=(meta.extra or {}).get("unit", ""),
                limits=_limits(meta),
            )
        )
    return found


@functools.cache
def sections() -> dict[str, type]:
    """Return the section structs by name, in order."""
    return typing.get_type_hints(Config)


@functools.cache
def all_fields() -> tuple[Field, ...]:
    """Return every setting, in the order of `settings`."""
    return tuple(field for name, struct in sections().items() for field in _fields_of(name, struct))


@functools.cache
def by_name() -> dict[str, Field]:
    """Return every setting by its dotted name."""
    return {field.dotted: field for field in all_fields()}
