"""What each parser reads, said in xgrammar's structural tags, so that a constrained answer always parses.

A *format* is the ``format`` member of a structural tag: https://xgrammar.mlc.ai/docs (structural tags).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from penstock.frontend.answers import deepseek, forms_tagged, harmony, hermes, mistral
from penstock.frontend.answers.formats import (
    BLANKS_IN_CALLS,
    Format,
    Tools,
    const,
    dispatch,
    either,
    optional,
    repeated,
    schema,
    sequence,
)
from penstock.frontend.answers.schemas import arguments_schema, parameter_schemas


def calls_format(form: str, tools: Tools, *, required: bool, parallel: bool) -> Format:
    """Return the language of answers that call tools.

    Args:
        form: name of the form (``ToolParser.form``).
        tools: OpenAI-style tools that may be called, at least one.
        required: nothing but calls, at least one; otherwise text, and a call once its beginning is written.
        parallel: several calls are allowed.
    """
    return _FORMS[form](tools, required, parallel)


def said_format(form: str, given: Format) -> Format:
    """Return the language of answers that say what a client asked for, in a form of calls but without any."""
    if form != "harmony":
        return given
    return sequence(optional(const(f"{harmony.START}assistant")), const(harmony.FINAL), given)


def _arguments(tool: Mapping[str, Any]) -> Format:
    return schema(arguments_schema(tool), BLANKS_IN_CALLS)


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


def _json_object(tool: Mapping[str, Any], key: str) -> Format:
    head = f'{{"name": {json.dumps(_name(tool))}, "{key}": '
    return sequence(const(head), _arguments(tool), const("}"))


def _hermes(tools: Tools, required: bool, parallel: bool) -> Format:
    inside = sequence(
        const("\n"), either([_json_object(tool, "arguments") for tool in tools]), const("\n" + hermes.CLOSE)
    )
    if required:
        return repeated(sequence(const(hermes.OPEN), inside), "\n", parallel)
    return dispatch([(hermes.OPEN, inside)], loop=parallel)


def _llama3_json(tools: Tools, required: bool, parallel: bool) -> Format:
    if required:
        return repeated(either([_json_object(tool, "parameters") for tool in tools]), "; ", parallel)
    rules = []
    for tool in tools:
        head = f'{{"name": {json.dumps(_name(tool))}, "parameters": '
        rules.append((head, sequence(_arguments(tool), const("}"))))
    return dispatch(rules, loop=parallel)


def _mistral(tools: Tools, required: bool, parallel: bool) -> Format:
    item = either([_json_object(tool, "arguments") for tool in tools])
    listed = sequence(optional(const(" ")), const("["), repeated(item, ", ", parallel), const("]"))
    return (
        sequence(const(mistral.OPEN), listed) if required else dispatch([(mistral.OPEN, listed)], loop=False)
    )


def _mistral_args(tools: Tools, required: bool, parallel: bool) -> Format:
    own_id = optional({"type": "regex", "pattern": r"\[CALL_ID\][A-Za-z0-9]{9}"})
    call = either(
        [sequence(const(_name(tool)), own_id, const(mistral.ARGS), _arguments(tool)) for tool in tools]
    )
    if required:
        return repeated(sequence(const(mistral.OPEN), call), "", parallel)
    return dispatch([(mistral.OPEN, call)], loop=parallel)


def _pythonic(tools: Tools, required: bool, parallel: bool) -> Format:
    inside = {_name(tool): sequence(_python_arguments(tool), const(")")) for tool in tools}
    further = either([sequence(const(f", {name}("), rest) for name, rest in inside.items()])
    end = [{"type": "star", "content": further}, const("]")] if parallel else [const("]")]
    if required:
        first = either([sequence(const(f"[{name}("), rest) for name, rest in inside.items()])
        return sequence(first, *end)
    return dispatch([(f"[{name}(", sequence(rest, *end)) for name, rest in inside.items()], loop=False)


def _python_arguments(tool: Mapping[str, Any]) -> Format:
    """Return the format of keyword arguments: the required ones first, values as JSON (which we read too)."""
    needed, free = parameter_schemas(tool)
    pairs = [sequence(const(f"{name}="), schema(of, BLANKS_IN_CALLS)) for name, of in needed]
    extra = [sequence(const(f"{name}="), schema(of, BLANKS_IN_CALLS)) for name, of in free]
    if pairs:
        rest = [optional(sequence(const(", "), pair)) for pair in extra]
        joined = [part for pair in pairs[1:] for part in (const(", "), pair)]
        return sequence(pairs[0], *joined, *rest)
    starts = [
        sequence(pair, *(optional(sequence(const(", "), later)) for later in extra[at + 1 :]))
        for at, pair in enumerate(extra)
    ]
    return optional(either(starts)) if starts else const("")


def _deepseek(head: str, tail: str, separator: str) -> Callable[[Tools, bool, bool], Format]:
    """Return the maker of a form of DeepSeek's: what stands around name and arguments, and between calls."""

    def form(tools: Tools, required: bool, parallel: bool) -> Format:
        call = either([sequence(const(head % _name(tool)), _arguments(tool), const(tail)) for tool in tools])
        calls = sequence(repeated(call, separator, parallel), const(deepseek.CALLS_END))
        if required:
            return sequence(const(deepseek.CALLS), calls)
        return dispatch([(deepseek.CALLS, calls)], loop=False)

    return form


def _harmony(tools: Tools, required: bool, parallel: bool) -> Format:
    """A call ends the answer, so there is never more than one. Its header may begin with the role."""
    role, channel = f"{harmony.START}assistant", f"{harmony.CHANNEL}commentary"
    typed = f"{harmony.CONSTRAIN}json{harmony.MESSAGE}"
    if required:
        calls = [
            sequence(const(f"{channel} to={harmony.NAMESPACE}{_name(tool)} {typed}"), _arguments(tool))
            for tool in tools
        ]
        return sequence(optional(const(role)), either(calls))
    rules = []
    for tool in tools:
        to = f"to={harmony.NAMESPACE}{_name(tool)}"
        inside = sequence(_arguments(tool), optional(const(harmony.END)))
        rules += [
            (f"{channel} {to} ", sequence(const(typed), inside)),
            (f"{channel} {to}{harmony.CONSTRAIN}", sequence(const(f"json{harmony.MESSAGE}"), inside)),
            (f"{channel} {to}{harmony.MESSAGE}", inside),
            (f"{role} {to}{channel}", sequence(optional(const(" ")), const(typed), inside)),
        ]
    return dispatch(rules, loop=False)


_FORMS: dict[str, Callable[[Tools, bool, bool], Format]] = {
    "hermes": _hermes,
    "llama3_json": _llama3_json,
    "mistral": _mistral,
    "mistral_args": _mistral_args,
    "pythonic": _pythonic,
    "qwen3_coder": forms_tagged.qwen3_coder,
    "glm45": forms_tagged.glm45,
    "deepseek_v3": _deepseek(
        f"{deepseek.CALL}function{deepseek.SEP}%s\n{deepseek.FENCE}\n",
        f"\n{deepseek.FENCE_END}{deepseek.CALL_END}",
        "\n",
    ),
    "deepseek_v31": _deepseek(f"{deepseek.CALL}%s{deepseek.SEP}", deepseek.CALL_END, ""),
    "harmony": _harmony,
}
