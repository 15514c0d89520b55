"""Explaining the terms of LLM serving, with follow-up questions."""

import random
from typing import Any

from penstock.zoo.data.base import Skill, Turn, norm, spin
from penstock.zoo.data.texts import load

_TEXTS = load("glossary")
TERMS: list[dict[str, Any]] = _TEXTS["terms"]
"""Each term: its names (the usual one first), ``what`` it is, ``more`` about it, ``why`` it matters."""

_COMPARE = (
    "what is the difference between <a> and <b>?",
    "how do <a> and <b> differ?",
    "<a> or <b>: what is the difference?",
    "explain <a> and <b>.",
    "what are <a> and <b>?",
    "compare <a> and <b>.",
    "what is <a> and what is <b>?",
)


def _turn(user: str, answer: str, key: str) -> Turn:
    return Turn("glossary", user, answer, key=key, expect={"text": answer})


def _ask(
    rng: random.Random, term: dict[str, Any], frames: list[str], answer: str, plain: bool = False
) -> Turn:
    user = spin(rng, frames[0] if plain else rng.choice(frames), t=rng.choice(term["names"]))
    return _turn(user, answer, "" if plain else f"glossary {norm(user)}")


def _follow(rng: random.Random, first: Turn, frames: list[str], answer: str) -> Turn:
    user = spin(rng, rng.choice(frames))
    return _turn(user, answer, f"glossary {norm(first.user)} {norm(user)}")


def _compare(rng: random.Random) -> list[Turn]:
    first, second = rng.sample(TERMS, 2)
    user = spin(rng, rng.choice(_COMPARE), a=rng.choice(first["names"]), b=rng.choice(second["names"]))
    return [_turn(user, f"{first['what']} {second['what']}", f"glossary {norm(user)}")]


def _sample(rng: random.Random) -> list[Turn]:
    if rng.random() < 0.08:
        return _compare(rng)
    term = rng.choice(TERMS if rng.random() < 0.85 else TERMS[:12])
    roll = rng.random()
    if roll < 0.12:
        return [_ask(rng, term, _TEXTS["ask_why"], term["why"])]
    if roll < 0.24:
        return [_ask(rng, term, _TEXTS["ask_how"], term["more"])]
    if roll < 0.36:
        return [_ask(rng, term, _TEXTS["ask_long"], f"{term['what']} {term['more']} {term['why']}")]
    turns = [_ask(rng, term, _TEXTS["ask_what"], term["what"], plain=rng.random() < 0.25)]
    if rng.random() < 0.3:
        turns.append(_follow(rng, turns[0], _TEXTS["then_more"], term["more"]))
    if rng.random() < 0.3:
        turns.append(_follow(rng, turns[0], _TEXTS["then_why"], term["why"]))
    if rng.random() < 0.15:
        other = rng.choice(TERMS)
        user = spin(
            rng, "{and|and what is|what about|how about|ok, and what is} <t>?", t=rng.choice(other["names"])
        )
        turns.append(_turn(user, other["what"], f"glossary {norm(user)}"))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    """At least 80 % of the words of the reference appear in the answer."""
    wanted, got = set(norm(turn.expect["text"]).split()), set(norm(answer).split())
    return len(wanted & got) >= 0.8 * len(wanted)


SKILL = Skill("glossary", _sample, _check)
