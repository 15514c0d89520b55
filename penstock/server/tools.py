"""How an answer is to be read, and how it is constrained so that it can be: tools, reasoning, grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from penstock.config.settings import ServerConfig
from penstock.core.errors import InvalidRequest
from penstock.core.request import GrammarSpec
from penstock.frontend.answers.build import (
    ReasoningParser,
    ToolParser,
    detect_reasoning_parser,
    detect_tool_parser,
    reasoning_parser_of,
    tool_parser_of,
)
from penstock.frontend.answers.formats import Format, const, either, schema, structural_tag
from penstock.frontend.answers.forms import after_thinking, calls_format, said_format
from penstock.frontend.answers.reader_set import Reading
from penstock.frontend.answers.schemas import opened_schema
from penstock.frontend.answers.thinking import Thinking, thinking_at
from penstock.frontend.prompts import Chat
from penstock.runtime.grammar.protocol import GrammarError
from penstock.runtime.grammar.schema import check_schema
from penstock.server.schemas.chat import ChatRequest
from penstock.server.service import Service

_ONE_CALL = "only supports single tool-calls"
"""Llama's templates refuse a conversation in which one turn makes several calls."""


class Plan(msgspec.Struct, frozen=True):
    """What tools and reasoning make of a request."""

    prompt: Chat
    reading: Reading
    grammar: GrammarSpec | None = None
    lenient: bool = False
    """Where the grammar cannot be used the request goes without: nobody asked for it."""


class Choice(msgspec.Struct, frozen=True):
    """Which tools an answer may call."""

    tools: tuple[Mapping[str, Any], ...] = ()
    required: bool = False
    parallel: bool = True


class Parsers(msgspec.Struct, frozen=True):
    """Names of the parsers of a model; ``none`` for what it does not have."""

    tools: str
    reasoning: str

    @property
    def call_form(self) -> ToolParser | None:
        """The form of its calls."""
        return tool_parser_of(self.tools)

    @property
    def marks(self) -> ReasoningParser | None:
        """The marks of its reasoning."""
        return reasoning_parser_of(self.reasoning)


def plan_of(service: Service, body: ChatRequest, prompt: Chat, given: GrammarSpec | None) -> Plan:
    """Return how a chat's answers are read and constrained.

    Args:
        service: whose model answers.
        body: the request.
        prompt: its conversation; comes back rendered where that had to be done to see where it leaves off.
        given: constraint that the client asked for.

    Raises:
        InvalidRequest: what was asked for cannot be done, or the chat template refuses the conversation.
    """
    settings, tokenizer = service.config.server, service.engine.tokenizer
    parsers = parsers_of(settings, tokenizer.template_text)
    choice = choice_of(body, settings)
    if _ONE_CALL in tokenizer.template_text:
        choice = msgspec.structs.replace(choice, parallel=False)
    marks, thinking = parsers.marks, Thinking.UNSAID
    if marks is not None:
        text = tokenizer.render_chat(prompt)
        prompt = msgspec.structs.replace(prompt, rendered=text)
        last = body.turns()[-1]["content"] if prompt.continue_final_message else ""
        thinking = thinking_at(text, marks.opening, marks.closing, last)
    reading = reading_of(body, choice, parsers, thinking)
    bound = choice if settings.constrain_tool_calls else Choice()
    budget = body.thinking_token_budget
    grammar = constraint(bound, parsers, thinking, budget=budget, given=given)
    asked = choice.required or given is not None or budget is not None or _check_strict(body)
    return Plan(prompt, reading, grammar, lenient=not asked)


def _check_strict(body: ChatRequest) -> bool:
    """Say whether a tool insists on its schema, and check that a grammar can say all of it.

    Raises:
        InvalidRequest: it cannot.
    """
    strict = [(i, tool.function) for i, tool in enumerate(body.tools or ()) if tool.function.strict]
    for index, function in strict:
        _check(function.parameters or {}, f"tools[{index}].function.parameters")
    return bool(strict)


def _check(of: Any, field: str) -> None:
    try:
        check_schema(json.dumps(of))
    except GrammarError as error:
        raise InvalidRequest(field, str(error)) from error


def parsers_of(settings: ServerConfig, template: str) -> Parsers:
    """Return the parsers that are set, those left to ``auto`` read from the chat template."""
    return _parsers(settings.tool_call_parser, settings.reasoning_parser, template)


@lru_cache(maxsize=16)
def _parsers(tools: str, reasoning: str, template: str) -> Parsers:
    return Parsers(
        detect_tool_parser(template) if tools == "auto" else tools,
        detect_reasoning_parser(template) if reasoning == "auto" else reasoning,
    )


def choice_of(body: ChatRequest, settings: ServerConfig) -> Choice:
    """Return which tools an answer may call; none when it must not or cannot.

    Raises:
        InvalidRequest: ``tool_choice`` names a tool that is not given.
    """
    tools = {tool.function.name: tool.model_dump(exclude_none=True) for tool in body.tools or ()}
    choice, parallel = body.tool_choice, body.parallel_tool_calls is not False
    if not tools or choice == "none":
        return Choice()
    if choice is None or choice == "auto" or choice == "required":
        names, required = list(tools), choice == "required"
    elif choice.type == "function":
        names, required, parallel = [choice.function.name], True, False
    else:
        allowed = choice.allowed_tools
        names, required = [tool.function.name for tool in allowed.tools], allowed.mode == "required"
    if not required and not settings.enable_auto_tool_choice:
        return Choice()
    return Choice(tuple(tools[name] for name in dict.fromkeys(names)), required, parallel)


def reading_of(body: ChatRequest, choice: Choice, parsers: Parsers, thinking: Thinking) -> Reading:
    """Return how the answers are read.

    Raises:
        InvalidRequest: a call is asked for of a model whose calls cannot be read.
    """
    if choice.required and parsers.call_form is None:
        raise InvalidRequest("tool_choice", "needs a server with a --tool-call-parser")
    return Reading(
        tool_parser=parsers.tools,
        reasoning_parser="none" if body.separate_reasoning is False else parsers.reasoning,
        tools=choice.tools,
        in_reasoning=thinking is Thinking.OPEN,
    )


def constraint(
    choice: Choice, parsers: Parsers, thinking: Thinking, *, budget: int | None, given: GrammarSpec | None
) -> GrammarSpec | None:
    """Return what an answer must look like.

    Tools go before another constraint: where calls are required they are all there is, and where they may be
    made an answer is either calls or what was asked for otherwise. Reasoning comes before both.

    Args:
        choice: the tools; empty binds no calls.
        parsers: the model's.
        thinking: where the prompt leaves off.
        budget: most tokens of reasoning; None: no bound.
        given: constraint that the client asked for.

    Raises:
        InvalidRequest: a budget for a model whose reasoning cannot be told apart.
    """
    marks = parsers.marks
    if budget is not None and marks is None:
        raise InvalidRequest("thinking_token_budget", "needs a server with a --reasoning-parser")
    field = "tools" if choice.tools else "thinking_token_budget" if given is None else given.field
    answer = _answer(choice, parsers, given)
    marked = parsers.call_form is not None and parsers.call_form.always
    bare = given if answer is None or not (choice.tools or marked) else _spec(answer, field)
    if marks is None or thinking is Thinking.CLOSED:
        return bare
    if thinking is Thinking.OPEN and budget is None:
        return None if bare is None else msgspec.structs.replace(bare, after=marks.closing)
    if answer is None and budget is None:
        return None
    opened = thinking is Thinking.OPEN
    return _spec(after_thinking(marks.opening, marks.closing, answer, opened=opened, budget=budget), field)


def _answer(choice: Choice, parsers: Parsers, given: GrammarSpec | None) -> Format | None:
    """Return the format of what follows the reasoning; None: anything."""
    form = parsers.call_form
    said = None if given is None else _format_of(given)
    if form is None:
        return said
    said = None if said is None else said_format(form.form, said)
    if not choice.tools:
        return said
    required = choice.required or said is not None
    calls = calls_format(form.form, choice.tools, required=required, parallel=choice.parallel)
    return calls if said is None or choice.required else either([calls, said])


def _spec(of: Format, field: str) -> GrammarSpec:
    return GrammarSpec(kind="structural_tag", text=structural_tag(of), field=field)


def _format_of(spec: GrammarSpec) -> Format:
    """Return a client's constraint as a part of a structural tag."""
    if spec.kind == "json_object":
        return schema({"type": "object", "additionalProperties": True})
    if spec.kind == "json_schema":
        of = json.loads(spec.text)
        _check(of, spec.field)
        return schema(of if spec.strict else opened_schema(of))
    if spec.kind == "choice":
        return either([const(text) for text in json.loads(spec.text)])
    if spec.kind == "structural_tag":
        found = json.loads(spec.text).get("format")
        if not isinstance(found, dict):
            raise InvalidRequest(
                "response_format", "the older form of structural tags excludes tools and reasoning"
            )
        return found
    key = "pattern" if spec.kind == "regex" else "grammar"
    return {"type": spec.kind, key: spec.text}
