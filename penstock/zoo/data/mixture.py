"""Conversations: fragments of the skills, with system prompts, human noise and many turns."""

import random
from dataclasses import dataclass

from penstock.zoo.data import (
    arithmetic,
    copying,
    counting,
    glossary,
    lists,
    memory,
    refusals,
    smalltalk,
    stories,
    tone,
    world,
    yesno,
)  # fmt: skip
from penstock.zoo.data.base import Skill, Split, Turn, draw, humanise

SKILLS: dict[str, Skill] = {
    module.SKILL.name: module.SKILL
    for module in (
        arithmetic, copying, counting,
        glossary, lists, memory, refusals, smalltalk, stories, tone, world, yesno,
    )
}  # fmt: skip
"""Every skill by name."""

Message = dict[str, str]
"""One chat message in the OpenAI form: role and content."""

CHAT_WEIGHTS: dict[str, float] = {
    "smalltalk": 3.0, "glossary": 2.2, "lists": 2.2, "stories": 1.0, "arithmetic": 6.0, "copying": 3.5,
    "counting": 2.4, "facts": 2.0, "yesno": 5.0, "refusals": 1.8, "memory": 1.4,
}  # fmt: skip
"""How often each skill is drawn for the chat model; tone has its own share."""

_LENGTHS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 7)
_BETWEEN = ("smalltalk", "glossary", "facts", "yesno", "lists", "arithmetic", "copying")
_IGNORANT = {*smalltalk.INTENTS["unnamed"]["answers"], *smalltalk.INTENTS["private"]["answers"]}
_TONE, _NAMED, _SYSTEM = 0.08, 0.12, 0.40


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue ready for the chat template; ``turns`` are its turns in order, without the system prompt."""

    messages: list[Message]
    turns: list[Turn]


def _draw(rng: random.Random, split: Split, name: str, told: bool) -> list[Turn]:
    """Draw a fragment; where the user has told something, none that claims not to know it."""
    while True:
        fragment = draw(SKILLS[name], rng, split)
        if not (told and any(turn.answer in _IGNORANT for turn in fragment)):
            return fragment


def _interleave(rng: random.Random, fragment: list[Turn], split: Split, many: bool) -> list[Turn]:
    """Put other talk between what was told and what is asked, so that memory has to reach further."""
    between: list[Turn] = []
    while not between or (many and rng.random() < 0.6):
        between += _draw(rng, split, rng.choice(_BETWEEN), told=True)
    return [*fragment[:-1], *between, fragment[-1]]


def _fragments(rng: random.Random, split: Split, weights: dict[str, float], limit: int) -> list[Turn]:
    names, turns, told = list(weights), list[Turn](), False
    while len(turns) < limit:
        name = rng.choices(names, weights=list(weights.values()))[0]
        if name == "memory" and told:
            continue
        fragment = _draw(rng, split, name, told)
        if name == "memory":
            told = True
            if limit > 1 and rng.random() < 0.6:
                fragment = _interleave(rng, fragment, split, limit > 3)
        turns.extend(fragment)
    return turns


def conversation(
    rng: random.Random,
    split: Split = "train",
    weights: dict[str, float] | None = None,
    turns: int | None = None,
) -> Conversation:
    """Draw a conversation.

    Args:
        rng: the only source of randomness.
        split: which keys may occur.
        weights: skill name to relative frequency; the chat mix by default.
        turns: least number of turns; drawn from a heavy-tailed distribution when left out.
    """
    weights = weights or CHAT_WEIGHTS
    limit = turns or rng.choice(_LENGTHS)
    roll, system = rng.random(), ""
    if roll < _TONE:
        manner = rng.choice(tone.TONES)
        system = rng.choice(manner.prompts)
        parts = manner.apply(_fragments(rng, split, weights, min(limit, 3)))
    elif roll < _NAMED:
        system, parts = tone.named(rng)
        if rng.random() < 0.5:
            parts = parts + _fragments(rng, split, {**weights, "memory": 0.0}, 1)
    else:
        parts = _fragments(rng, split, weights, limit)
        system = rng.choice(tone.PLAIN) if roll < _SYSTEM else ""
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in parts:
        user = turn.user if turn.verbatim else humanise(rng, turn.user)
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": turn.answer}]
    return Conversation(messages, parts)


def exam(rng: random.Random, name: str, split: Split = "test") -> Conversation:
    """Draw one fragment of skill ``name`` alone; its last turn is the question, to be answered by the model.

    The reference answer is not part of the messages; it is in the last of ``turns``.
    """
    parts = draw(SKILLS[name], rng, split)
    messages: list[Message] = []
    for turn in parts:
        if turn.skill == tone.SYSTEM:
            messages.append({"role": "system", "content": turn.user})
            continue
        messages += [{"role": "user", "content": turn.user}, {"role": "assistant", "content": turn.answer}]
    return Conversation(messages[:-1], [turn for turn in parts if turn.skill != tone.SYSTEM])
