"""What each parser reads, said in xgrammar's structural tags, so that a constrained answer always parses.

A *format* is the ``format`` member of a structural tag: https://xgrammar.mlc.ai/docs (structural tags).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock.frontend.answers import hermes, mistral
from penstock.frontend.answers.schemas import arguments_schema, parameter_schemas

Format = dict[str, Any]
Tools = Sequence[Mapping[str, Any]]

_BLANKS = 24
"""Most white space between two marks of JSON: room for indentation, none for an endless line of blanks."""

_BLANKS_IN_CALLS = 1
"""The same in calls, which every chat template writes on one line: weak models fall for blanks."""


def calls_format(form: str, tools: Tools, *, required: bool, parallel: bool) -> Format:
    """Return the language of answers that call tools.

    Args:
        form: name of the form (``ToolParser.form``).
        tools: OpenAI-style tools that may be called, at least one.
        required: nothing but calls, at least one; otherwise text, and a call once its beginning is written.
        parallel: several calls are allowed.
    """
    return _FORMS[form](tools, required, parallel)


def structural_tag(form: Format) -> str:
    """Return the structural tag of a format, as JSON."""
    return json.dumps({"type": "structural_tag", "format": form}, ensure_ascii=False)


def const(value: str) -> Format:
    """Return the format of just this text."""
    return {"type": "const_string", "value": value}


def sequence(*elements: Format) -> Format:
    """Return the format of one after the other."""
    return {"type": "sequence", "elements": list(elements)} if len(elements) > 1 else elements[0]


def either(elements: Sequence[Format]) -> Format:
    """Return the format of any one."""
    return {"type": "or", "elements": list(elements)} if len(elements) > 1 else elements[0]


def optional(content: Format) -> Format:
    """Return the format of once or not at all."""
    return {"type": "optional", "content": content}


def schema(of: Any, blanks: int = _BLANKS) -> Format:
    """Return the format of JSON of a schema, with so much white space between two marks at most."""
    return {"type": "json_schema", "json_schema": of, "max_whitespace_cnt": blanks}


def _arguments(tool: Mapping[str, Any]) -> Format:
    return schema(arguments_schema(tool), _BLANKS_IN_CALLS)


def after_thinking(
    opening: str, closing: str, rest: Format | None, *, opened: bool, budget: int | None
) -> Format:
    """Return the format of an answer after reasoning.

    Args:
        opening: mark that begins reasoning.
        closing: mark that ends it.
        rest: what follows; None: anything.
        opened: the prompt ends in the reasoning; otherwise the answer may or may not begin with it.
        budget: most tokens of reasoning; None: no bound.
    """
    inside: Format = {"type": "any_text", "excludes": [opening, closing]}
    if budget is not None:
        inside["max_tokens"] = budget
    thinking = {"type": "tag", "begin": "" if opened else opening, "content": inside, "end": closing}
    answer = rest if rest is not None else {"type": "any_text"}
    blank = {"type": "regex", "pattern": r"\s{0,4}"}
    if opened:
        return sequence(thinking, blank, answer)
    return either([sequence(blank, thinking, blank, answer), _without(opening, answer)])


def _without(mark: str, of: Format) -> Format:
    """Return a format whose free text, if it has any, does not hold the mark."""
    return {**of, "excludes": [mark]} if of["type"] in ("any_text", "dispatch") else of


def _name(tool: Mapping[str, Any]) -> str:
    return str(tool["function"]["name"])


def _repeated(item: Format, separator: str, parallel: bool) -> Format:
    """Return the format of one item, or of several with a separator."""
    if not parallel:
        return item
    return sequence(item, {"type": "star", "content": sequence(const(separator), item)})


def _dispatch(rules: Sequence[tuple[str, Format]], loop: bool) -> Format:
    """Return the format of text in which certain beginnings must go on in a certain way."""
    return {"type": "dispatch", "rules": [list(rule) for rule in rules], "loop": loop}


def _json_object(tool: Mapping[str, Any], key: str) -> Format:
    head = f'{{"name": {json.dumps(_name(tool))}, "{key}": '
    return sequence(const(head), _arguments(tool), const("}"))


def _hermes(tools: Tools, required: bool, parallel: bool) -> Format:
    inside = sequence(
        const("\n"), either([_json_object(tool, "arguments") for tool in tools]), const("\n" + hermes.CLOSE)
    )
    if required:
        return _repeated(sequence(const(hermes.OPEN), inside), "\n", parallel)
    return _dispatch([(hermes.OPEN, inside)], loop=parallel)


def _llama3_json(tools: Tools, required: bool, parallel: bool) -> Format:
    if required:
        return _repeated(either([_json_object(tool, "parameters") for tool in tools]), "; ", parallel)
    rules = []
    for tool in tools:
        head = f'{{"name": {json.dumps(_name(tool))}, "parameters": '
        rules.append((head, sequence(_arguments(tool), const("}"))))
    return _dispatch(rules, loop=parallel)


def _mistral(tools: Tools, required: bool, parallel: bool) -> Format:
    item = either([_json_object(tool, "arguments") for tool in tools])
    listed = sequence(optional(const(" ")), const("["), _repeated(item, ", ", parallel), const("]"))
    return (
        sequence(const(mistral.OPEN), listed) if required else _dispatch([(mistral.OPEN, listed)], loop=False)
    )


def _mistral_args(tools: Tools, required: bool, parallel: bool) -> Format:
    own_id = optional({"type": "regex", "pattern": r"\[CALL_ID\][A-Za-z0-9]{9}"})
    call = either(
        [sequence(const(_name(tool)), own_id, const(mistral.ARGS), _arguments(tool)) for tool in tools]
    )
    if required:
        return _repeated(sequence(const(mistral.OPEN), call), "", parallel)
    return _dispatch([(mistral.OPEN, call)], loop=parallel)


def _pythonic(tools: Tools, required: bool, parallel: bool) -> Format:
    inside = {_name(tool): sequence(_python_arguments(tool), const(")")) for tool in tools}
    further = either([sequence(const(f", {name}("), rest) for name, rest in inside.items()])
    end = [{"type": "star", "content": further}, const("]")] if parallel else [const("]")]
    if required:
        first = either([sequence(const(f"[{name}("), rest) for name, rest in inside.items()])
        return sequence(first, *end)
    return _dispatch([(f"[{name}(", sequence(rest, *end)) for name, rest in inside.items()], loop=False)


def _python_arguments(tool: Mapping[str, Any]) -> Format:
    """Return the format of keyword arguments: the required ones first, values as JSON (which we read too)."""
    needed, free = parameter_schemas(tool)
    pairs = [sequence(const(f"{name}="), schema(of, _BLANKS_IN_CALLS)) for name, of in needed]
    extra = [sequence(const(f"{name}="), schema(of, _BLANKS_IN_CALLS)) for name, of in free]
    if pairs:
        rest = [optional(sequence(const(", "), pair)) for pair in extra]
        joined = [part for pair in pairs[1:] for part in (const(", "), pair)]
        return sequence(pairs[0], *joined, *rest)
    starts = [
        sequence(pair, *(optional(sequence(const(", "), later)) for later in extra[at + 1 :]))
        for at, pair in enumerate(extra)
    ]
    return optional(either(starts)) if starts else const("")


_FORMS: dict[str, Callable[[Tools, bool, bool], Format]] = {
    "hermes": _hermes,
    "llama3_json": _llama3_json,
    "mistral": _mistral,
    "mistral_args": _mistral_args,
    "pythonic": _pythonic,
}
