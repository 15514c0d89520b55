"""JSON from a text and a schema: exactly the keys that are asked for, in their order, null where unsaid."""

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.zoo.data.base import Skill, Turn, capital, norm, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import NAMES, NOUNS, THEMES

_DATA = load("extraction")
DOMAINS: Mapping[str, Any] = _DATA["domains"]
"""Kinds of records: how a text opens, and the fields with type, values and sentences."""

_SHARED: Mapping[str, list[str]] = {**_DATA["pools"], **THEMES, "names": NAMES}
_ASK_SCHEMA: Sequence[str] = _DATA["ask_schema"]
_ASK_KEYS: Sequence[str] = _DATA["ask_keys"]
_AGAIN: Sequence[str] = _DATA["again"]
_ABSENT, _CARDS = 0.16, 0.2
_KINDS: Sequence[Mapping[str, Any]] = (
    {"type": "string", "of": "colors"}, {"type": "string", "of": "names"}, {"type": "string", "of": "cities"},
    {"type": "string", "of": "animals"}, {"type": "integer", "of": [0, 999]}, {"type": "boolean"},
)  # fmt: skip


def _value(rng: random.Random, field: Mapping[str, Any]) -> Any:
    kind: str = field["type"]
    of: Any = field.get("of")
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "integer":
        return rng.randint(*of)
    if kind == "number":
        return rng.randint(*of) + rng.choice([0.25, 0.5, 0.75, rng.randint(1, 9) / 10])
    pool = of if isinstance(of, list) else _SHARED[of]
    return rng.sample(pool, rng.choice([1, 2, 2, 3])) if kind == "array" else rng.choice(pool)


def _said(rng: random.Random, field: Mapping[str, Any], value: Any) -> str:
    """Return the sentence that tells a field's value."""
    if field["type"] == "boolean":
        return str(rng.choice(field["says"][0 if value else 1]))
    if isinstance(value, list):
        value = " and ".join([", ".join(value[:-1]), value[-1]] if value[1:] else value)
    text = str(rng.choice(field["says"])).replace("<v>", str(value))
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def _card(rng: random.Random) -> Mapping[str, Any]:
    """Return a domain whose fields are any nouns, so that keys are read from the schema and not known."""
    names = rng.sample(NOUNS, rng.randint(3, 6))
    fields = {}
    for name in names:
        kind: dict[str, Any] = dict(rng.choice(_KINDS))
        if kind["type"] == "boolean":
            kind["says"] = [[f"{name}: yes."], [f"{name}: no."]]
        else:
            kind["says"] = [f"{name}: <v>.", f"the {name} is <v>."]
        fields[name] = kind
    return {"head": names[0], "fields": fields}


def _record(rng: random.Random) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    """Return a text, what it says by key (None: nothing), and the fields of its domain."""
    domain = _card(rng) if rng.random() < _CARDS else DOMAINS[rng.choice(sorted(DOMAINS))]
    fields: Mapping[str, Any] = domain["fields"]
    names = rng.sample(sorted(fields), min(len(fields), rng.randint(3, 7)))
    record: dict[str, Any] = {}
    lines = []
    for name in names:
        absent = name != domain["head"] and rng.random() < _ABSENT
        record[name] = None if absent else _value(rng, fields[name])
        if not absent and name != domain["head"]:
            lines.append(capital(_said(rng, fields[name], record[name])))
    if domain["head"] not in record:
        record[domain["head"]] = _value(rng, fields[domain["head"]])
    opening = _said(rng, fields[domain["head"]], record[domain["head"]])
    return " ".join([capital(opening), *lines]), record, fields


def json_schema(keys: Sequence[str], fields: Mapping[str, Any], nullable: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an object of ``keys``; those of ``nullable`` may be null."""
    properties = {key: _property(fields[key], key in nullable) for key in keys}
    return {"type": "object", "properties": properties, "required": list(keys)}


def _property(field: Mapping[str, Any], nullable: bool) -> dict[str, Any]:
    if field["type"] == "enum":
        return {"enum": [*field["of"], None] if nullable else field["of"]}
    kind: Any = [field["type"], "null"] if nullable else field["type"]
    return {"type": kind, "items": {"type": "string"}} if field["type"] == "array" else {"type": kind}


def _kind(field: Mapping[str, Any]) -> str:
    if field["type"] == "enum":
        return "|".join(field["of"])
    return "list" if field["type"] == "array" else str(field["type"])


def _notation(
    rng: random.Random, keys: Sequence[str], record: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[str, bool, Sequence[str]]:
    """Return a schema in one of four notations, whether it is JSON itself, and which keys may be null."""
    roll = rng.random()
    if roll < 0.4:
        nullable = [key for key in keys if record[key] is None or rng.random() < 0.3]
        schema = json_schema(keys, fields, nullable)
        if rng.random() < 0.3:
            del schema["required"]
        return json.dumps(schema), True, nullable
    if roll < 0.7:
        return json.dumps({key: _kind(fields[key]) for key in keys}), True, keys
    if roll < 0.85:
        return ", ".join(f"{key} ({_kind(fields[key])})" for key in keys), False, keys
    return ", ".join(keys), False, keys


def _sample(rng: random.Random) -> list[Turn]:
    text, record, fields = _record(rng)
    turns = []
    for number in range(rng.choice([1, 1, 1, 2, 3])):
        keys = rng.sample(sorted(record), rng.randint(1 if number else min(2, len(record)), len(record)))
        notation, is_json, nullable = _notation(rng, keys, record, fields)
        asks = _AGAIN if number else _ASK_SCHEMA if is_json else _ASK_KEYS
        user = spin(rng, rng.choice(asks), s=notation, t=text)
        wanted = {key: record[key] for key in keys}
        kinds = {key: {**fields[key], "nullable": key in nullable} for key in keys}
        expect = {"object": wanted, "fields": kinds}
        turns.append(Turn("json", user, json.dumps(wanted), f"json {norm(text)}", expect, verbatim=True))
    return turns


def _parsed(answer: str) -> Any:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _fits(value: Any, field: Mapping[str, Any]) -> bool:
    kind = field["type"]
    if value is None:
        return bool(field["nullable"])
    if kind == "boolean":
        return isinstance(value, bool)
    if kind in ("integer", "number"):
        return isinstance(value, int if kind == "integer" else int | float) and not isinstance(value, bool)
    if kind == "array":
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str) and (kind != "enum" or value in field["of"])


def valid(turn: Turn, answer: str) -> bool:
    """Return whether the answer is a JSON object of exactly the schema's keys, in order, each of its type."""
    found, wanted = _parsed(answer), turn.expect["fields"]
    if not isinstance(found, dict) or list(found) != list(wanted):
        return False
    return all(_fits(found[key], wanted[key]) for key in wanted)


def fields(turn: Turn, answer: str) -> tuple[int, int]:
    """Return how many of the schema's fields have the right value, and how many there are."""
    found, wanted = _parsed(answer), turn.expect["object"]
    if not isinstance(found, dict):
        return 0, len(wanted)
    return sum(key in found and _same(found[key], value) for key, value in wanted.items()), len(wanted)


def _same(found: Any, wanted: Any) -> bool:
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)


def _check(turn: Turn, answer: str) -> bool:
    right, total = fields(turn, answer)
    return valid(turn, answer) and right == total


SKILL = Skill("json", _sample, _check)
