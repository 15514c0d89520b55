"""Calling tools: the right one of those offered, arguments from the request, an answer from the result.

Names of tools and parameters, and which optional parameters there are, change from talk to talk, so that
they must be read from the offer.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.zoo.data import glossary, smalltalk
from penstock.zoo.data.base import Skill, Turn, capital, norm, split_of
from penstock.zoo.data.texts import load
from penstock.zoo.data.toolform import call_text, calls_of
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS, THEMES

_DATA = load("toolcalls")
_TOOLS: Sequence[Mapping[str, Any]] = _DATA["tools"]
_NONE: str = _DATA["none"]
_POOLS: Mapping[str, Sequence[str]] = {
    **_DATA["values"], **THEMES,
    "names": NAMES, "things": NOUNS, "places": [*THEMES["cities"], *_DATA["places"]],
}  # fmt: skip
_LENDERS = {skill.name: skill for skill in (smalltalk.SKILL, glossary.SKILL)}
"""Skills whose talk needs no tool."""

_POLITE = ("", "", "", "please ", "can you ", "could you ", "hey, ", "ok, ", "now ")


@dataclass(frozen=True, slots=True)
class Offered:
    """A tool as it is offered in one talk: its name, and what its parameters are called there."""

    about: Mapping[str, Any]
    name: str
    parameters: Mapping[str, str]
    described: bool = True

    def schema(self) -> dict[str, Any]:
        """Return the tool in the OpenAI form."""
        params = self.about["params"]
        properties = {name: _type(params[key]["of"]) for key, name in self.parameters.items()}
        required = [name for key, name in self.parameters.items() if "optional" not in params[key]]
        schema = {"type": "object", "properties": properties, "required": required}
        about = {"description": self.about["about"]} if self.described else {}
        return {"type": "function", "function": {"name": self.name, **about, "parameters": schema}}


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants done: the words, the call that does it, what it returns, what to answer then.

    ``key`` is the same whatever the names and the phrasing are; ``quoted`` must be in the reply.
    """

    key: str
    words: str
    call: tuple[str, Mapping[str, Any]]
    result: str
    reply: str
    quoted: Sequence[str]


def _type(of: Any) -> dict[str, Any]:
    if isinstance(of, list):
        return {"type": "integer"}
    pool = _DATA["values"].get(of, ())
    return {"type": "string", "enum": list(pool)} if 0 < len(pool) < 4 else {"type": "string"}


def _offer(rng: random.Random, about: Mapping[str, Any]) -> Offered:
    parameters = {}
    for key, parameter in about["params"].items():
        if "optional" not in parameter or rng.random() < 0.5:
            parameters[key] = rng.choice(parameter.get("names", [key]))
    return Offered(about, rng.choice(about["names"]), parameters, rng.random() < 0.85)


def _draw(rng: random.Random, of: Any) -> Any:
    """Return a value: of a range, of a pool, or made of words."""
    if isinstance(of, list):
        return rng.randint(*of)
    if of == "titles":
        return f"The {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    if of == "events":
        return f"{rng.choice(THEMES['hobbies'])} with {rng.choice(NAMES)}"
    return rng.choice(_POOLS[of])


def _request(rng: random.Random, tool: Offered) -> Request:
    params, words = tool.about["params"], str(rng.choice(tool.about["asks"]))
    values: dict[str, Any] = {}
    arguments: dict[str, Any] = {}
    for key, parameter in params.items():
        wording = parameter.get("optional", "<v>")
        if key in tool.parameters and ("optional" not in parameter or rng.random() < 0.6):
            value = _draw(rng, parameter["of"])
            while value in values.values():
                value = _draw(rng, parameter["of"])
            values[key] = arguments[tool.parameters[key]] = value
            words = words.replace(f"<{key}>", wording.replace("<v>", str(value)))
        words = words.replace(f"<{key}>", "")
    result = {name: _given(rng, of, values) for name, of in tool.about["gives"].items()}
    reply = tool.about["reply"]
    for name, value in {**values, **result}.items():
        reply = reply.replace(f"<{name}>", str(value))
    quoted = [
        str(value) for name, value in {**values, **result}.items() if f"<{name}>" in tool.about["reply"]
    ]
    key = f"tools {tool.about['about']} {sorted(map(str, values.values()))}"
    told = json.dumps(result)
    if rng.random() < 0.2:
        told = ", ".join(f"{name}: {json.dumps(value)}" for name, value in result.items()).replace('"', "")
    return Request(key, words, (tool.name, arguments), told, reply, quoted)


def _given(rng: random.Random, of: Any, values: Mapping[str, Any]) -> Any:
    if of == "product":
        return values["a"] * values["b"]
    if of == "yes":
        return True
    return values[of[1:]] if isinstance(of, str) and of.startswith("=") else _draw(rng, of)


def _said(rng: random.Random, words: str) -> str:
    opening = rng.choice(_POLITE) if words.split()[0] in _DATA["verbs"] else ""
    asks = opening.endswith("you ") or words.endswith("?")
    text = opening + words.rstrip("?") + rng.choice(["?", "?", "?", ""] if asks else ["", "", ".", "!"])
    return capital(text) if rng.random() < 0.6 else text


def _turns(rng: random.Random, requests: Sequence[Request]) -> list[Turn]:
    """Return the turn that calls and the turn that answers from the results."""
    glue = rng.choice([", and ", " and then ", ". Also, "])
    words = _said(rng, glue.join(request.words for request in requests).replace("?" + glue, glue))
    calls = [request.call for request in requests]
    answer = "\n".join(call_text(name, given) for name, given in calls)
    key = requests[0].key
    ask = Turn("tools", words, answer, key, {"calls": calls}, verbatim=True)
    replied = " ".join(request.reply for request in requests)
    quoted = [value for request in requests for value in request.quoted]
    results = "\n".join(request.result for request in requests)
    told = Turn("tools", results, replied, key, {"calls": [], "quoted": quoted}, source="tool")
    return [ask, told]


def _nothing(rng: random.Random, others: Sequence[Mapping[str, Any]]) -> list[Turn]:
    """Return a request that no offered tool fits, or talk that needs none."""
    if rng.random() < 0.4:
        return rng.choice(list(_LENDERS.values())).sample(rng)[:1]
    request = _request(rng, _offer(rng, rng.choice(others)))
    words = _said(rng, request.words)
    return [Turn("tools", words, _NONE, request.key, {"calls": [], "text": _NONE}, verbatim=True)]


def _sample(rng: random.Random) -> list[Turn]:
    order = rng.sample(_TOOLS, len(_TOOLS))
    count = rng.choice([1, 2, 2, 3, 3, 4])
    offered = [_offer(rng, about) for about in order[:count]]
    turns: list[Turn] = []
    for _ in range(rng.choice([1, 1, 2, 2, 3])):
        roll = rng.random()
        if roll < 0.18:
            turns += _nothing(rng, order[count:])
        elif roll < 0.36:
            turns += _turns(rng, _pair(rng, offered))
        else:
            turns += _turns(rng, [_request(rng, rng.choice(offered))])
    if len(turns) > 1 and turns[-1].source == "tool" and rng.random() < 0.5:
        turns.pop()
    return [replace(turns[0], tools=tuple(tool.schema() for tool in offered)), *turns[1:]]


def _pair(rng: random.Random, offered: Sequence[Offered]) -> list[Request]:
    """Return two requests made in one breath, of two tools or of one, both of one split."""
    tools = rng.sample(offered, 2) if len(offered) > 1 and rng.random() < 0.6 else [rng.choice(offered)] * 2
    first, second = (_request(rng, tool) for tool in tools)
    apart = first.call == second.call or split_of(first.key) != split_of(second.key)
    return [first] if apart else [first, second]


def _check(turn: Turn, answer: str) -> bool:
    calls, lender = calls_of(answer), _LENDERS.get(turn.skill)
    if lender is not None:
        return calls == [] and lender.check(turn, answer)
    wanted = turn.expect["calls"]
    if calls is None or sorted(map(_plain, calls)) != sorted(map(_plain, wanted)):
        return False
    if "text" in turn.expect:
        return bool(answer.strip() == turn.expect["text"])
    words = norm(answer).split()
    return all(_within(norm(value).split(), words) for value in turn.expect.get("quoted", ()))


def _plain(call: tuple[str, Mapping[str, Any]]) -> str:
    return json.dumps([call[0], call[1]], sort_keys=True)


def _within(part: list[str], words: list[str]) -> bool:
    return any(words[i : i + len(part)] == part for i in range(len(words) - len(part) + 1))


SKILL = Skill("tools", _sample, _check)
