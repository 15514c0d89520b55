"""From a policy string to a policy object."""

from __future__ import annotations

import re
from typing import Any

from penstock.core.errors import ConfigError
from penstock.policies.order.combine import Lexicographic
from penstock.policies.registry import Slot, create, names

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:ms|s|m)?)(?![\w-])|(?P<name>[A-Za-z][\w-]*)|(?P<op>[>(),=]))"
)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def parse_policy(slot: Slot, text: str) -> Any:
    """Build the policy that ``text`` describes (grammar in `penstock.policies.registry`).

    Raises:
        ConfigError: the text does not parse, names an unknown policy, or combines what does not combine.
    """
    return _Parser(slot, text).parse()


class _Parser:
    def __init__(self, slot: Slot, text: str) -> None:
        self._slot: Slot = slot
        self._text = text
        self._tokens = self._split(text)
        self._at = 0

    def _fail(self, why: str) -> ConfigError:
        return ConfigError(f"schedule.{self._slot}", f"cannot read {self._text!r}: {why}")

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._fail(f"unexpected {text[at:].strip()[:12]!r}")
            kind = found.lastgroup or ""
            tokens.append((kind, found.group(kind)))
            at = found.end()
        return tokens

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "the end")

    def _take(self, value: str | None = None) -> tuple[str, str]:
        kind, text = self._peek()
        if value is not None and text != value:
            raise self._fail(f"expected {value!r}, got {text!r}")
        self._at += 1
        return kind, text

    def parse(self) -> Any:
        policy = self._expression()
        if self._peek()[0] != "end":
            raise self._fail(f"unexpected {self._peek()[1]!r}")
        return policy

    def _expression(self) -> Any:
        terms = [self._term()]
        while self._peek()[1] == ">":
            self._take(">")
            terms.append(self._term())
        if len(terms) == 1:
            return terms[0]
        if self._slot != "order":
            raise self._fail("'>' combines orders; this slot takes one policy")
        try:
            return Lexicographic(*terms)
        except ValueError as e:
            raise self._fail(str(e)) from e

    def _term(self) -> Any:
        kind, name = self._take()
        if kind != "name":
            raise self._fail(f"expected a policy name, got {name!r}")
        args: list[Any] = []
        options: dict[str, Any] = {}
        if self._peek()[1] == "(":
            self._take("(")
            self._argument_into(args, options)
            while self._peek()[1] == ",":
                self._take(",")
                self._argument_into(args, options)
            self._take(")")
        return create(self._slot, name, args, options)

    def _argument_into(self, args: list[Any], options: dict[str, Any]) -> None:
        """Read ``value`` or ``name=value``; a named value may be a word, which policies get as text."""
        if self._peek(1)[1] != "=":
            if options:
                raise self._fail("a value without a name follows one with a name")
            args.append(self._argument())
            return
        kind, name = self._take()
        self._take("=")
        if kind != "name" or name in options:
            raise self._fail(f"expected the name of an option, once, before '=', got {name!r}")
        kind, text = self._peek()
        word = kind == "name" and self._peek(1)[1] in (",", ")") and text not in names(self._slot)
        options[name.replace("-", "_")] = self._take()[1] if word else self._argument()

    def _argument(self) -> Any:
        kind, text = self._peek()
        if kind != "number":
            return self._expression()
        self._take()
        for suffix, scale in _SECONDS.items():
            if text.endswith(suffix):
                return float(text[: -len(suffix)]) * scale
        return float(text) if "." in text else int(text)
