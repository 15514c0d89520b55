"""Conversations: fragments of the skills, with system prompts, human noise and many turns."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penstock.zoo.data import (
    arithmetic,
    chunks,
    copying,
    counting,
    editing,
    extraction,
    glossary,
    lengths,
    lists,
    memory,
    puzzles,
    quoting,
    recall,
    refusals,
    smalltalk,
    spelling,
    steps,
    stories,
    tone,
    toolcalls,
    world,
    yesno,
)  # fmt: skip
from penstock.zoo.data.base import Skill, Split, Turn, draw, humanise, tokens_of_turns

SKILLS: dict[str, Skill] = {
    module.SKILL.name: module.SKILL
    for module in (
        arithmetic,
        chunks,
        copying,
        counting,
        editing,
        extraction,
        glossary,
        lengths,
        lists,
        memory,
        puzzles,
        quoting,
        recall,
        refusals,
        smalltalk,
        spelling,
        steps,
        stories,
        tone,
        toolcalls,
        world,
        yesno,
    )
} | {chunks.TWO.name: chunks.TWO}
"""Every skill by name."""

Message = dict[str, str]
"""One chat message in the OpenAI form: role and content."""

CHAT_WEIGHTS: dict[str, float] = {
    "smalltalk": 3.0,
    "glossary": 2.2,
    "lists": 2.2,
    "stories": 1.0,
    "arithmetic": 6.0,
    "copying": 6.0,
    "spelling": 0.5,
    "editing": 4.5,
    "json": 5.0,
    "tools": 5.0,
    "counting": 2.4,
    "facts": 2.0,
    "yesno": 5.0,
    "refusals": 1.8,
    "memory": 1.4,
    "tone": 4.0,
    "lengths": 4.0,
    "puzzles": 3.0,
    "steps": 5.0,
    "recall": 2.5,
    "single_chunk": 0.8,
    "two_chunk": 1.6,
    "quoting": 0.8,
}
"""How often each skill is drawn for the chat model; one draw of tone makes a whole conversation of it."""

LEAST_ROOM, MOST_ROOM = 128, 1900
"""Between these, or up to all the room, a skill with long contexts is sized; never in less, never twice."""

_TALK = frozenset(
    ("smalltalk", "glossary", "lists", "stories", "arithmetic", "counting", "facts", "yesno", "refusals")
)
"""Skills whose answers a tone may frame."""
_LENGTHS = (1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 7)
_BETWEEN = ("smalltalk", "glossary", "facts", "yesno", "lists", "arithmetic", "copying")
_IGNORANT = {*smalltalk.INTENTS["unnamed"]["answers"], *smalltalk.INTENTS["private"]["answers"]}
_SYSTEM = 0.32


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue ready for the chat template.

    Attributes:
        messages: the dialogue in the OpenAI form.
        turns: its turns in order, without the system prompt.
        tools: OpenAI function tools that are offered to the model.
    """

    messages: list[Message]
    turns: list[Turn]
    tools: list[dict[str, Any]]


def _draw(
    rng: random.Random, split: Split, name: str, told: bool = False, room: int | None = None
) -> list[Turn]:
    """Draw a fragment; where the user has told something, none that claims not to know it."""
    skill, budget = SKILLS[name], None
    if room is not None and skill.sized is not None:
        budget = min(room, rng.randint(LEAST_ROOM, max(MOST_ROOM, room)))
    while True:
        fragment = draw(skill, rng, split, budget=budget)
        if not (told and any(turn.answer in _IGNORANT for turn in fragment)):
            return fragment


def _interleave(rng: random.Random, fragment: list[Turn], split: Split, many: bool) -> list[Turn]:
    """Put other talk between what was told and what is asked, so that memory has to reach further."""
    between: list[Turn] = []
    while not between or (many and rng.random() < 0.6):
        between += _draw(rng, split, rng.choice(_BETWEEN), told=True)
    return [*fragment[:-1], *between, fragment[-1]]


def _fragments(
    rng: random.Random, split: Split, weights: Mapping[str, float], limit: int, room: int | None
) -> list[Turn]:
    """Draw fragments until there are ``limit`` turns or the room is taken; one with tools stands alone."""
    turns, drawn, told, left = list[Turn](), set[str](), False, room
    while len(turns) < limit:
        names = [
            name
            for name, weight in weights.items()
            if weight > 0
            and not (told and name == "memory")
            and not (
                SKILLS[name].sized is not None and (name in drawn or (left is not None and left < LEAST_ROOM))
            )
        ]
        if not names:
            break
        name = rng.choices(names, weights=[weights[name] for name in names])[0]
        fragment = _draw(rng, split, name, told, left)
        if turns and fragment[0].tools:
            break
        if name == "memory":
            told = True
            if limit > 1 and rng.random() < 0.6:
                fragment = _interleave(rng, fragment, split, limit > 3)
        size = tokens_of_turns(fragment)
        if left is not None and turns and size > left:
            break
        turns.extend(fragment)
        drawn.add(name)
        left = None if left is None else left - size
        if fragment[0].tools:
            break
    return turns


def conversation(
    rng: random.Random,
    split: Split = "train",
    weights: Mapping[str, float] | None = None,
    turns: int | None = None,
    room: int | None = None,
) -> Conversation:
    """Draw a conversation.

    Args:
        rng: the only source of randomness.
        split: which keys may occur.
        weights: skill name to relative frequency; the chat mix by default.
        turns: least number of turns; drawn from a heavy-tailed distribution when left out.
        room: tokens that there are: no turn beyond it is begun, and skills about long contexts fit into it.
            The first fragment of another skill may take more.

    Raises:
        ValueError: no skill in ``weights`` fits into ``room``.
    """
    mix = dict(weights or CHAT_WEIGHTS)
    limit = turns or rng.choice(_LENGTHS)
    tones = mix.pop("tone", 0.0)
    talk = {name: weight for name, weight in mix.items() if name in _TALK}
    if tones and rng.random() * (tones + sum(mix.values())) < tones:
        system, parts = tone.under(rng, _fragments(rng, split, talk, limit, room))
    else:
        parts = _fragments(rng, split, mix, limit, room)
        plain = parts and not parts[0].tools and rng.random() < _SYSTEM
        system = rng.choice(tone.PLAIN) if plain else ""
    if not parts:
        raise ValueError(f"no skill of {sorted(mix)} fits into {room} tokens")
    messages: list[Message] = [{"role": "system", "content": system}] if system else []
    for turn in parts:
        messages += _said(
            turn, turn.user if turn.verbatim or turn.source == "tool" else humanise(rng, turn.user)
        )
    return Conversation(messages, parts, [dict(tool) for tool in parts[0].tools])


def _said(turn: Turn, asked: str) -> list[Message]:
    return [{"role": turn.source, "content": asked}, {"role": "assistant", "content": turn.answer}]


def exam(rng: random.Random, name: str, split: Split = "test", room: int | None = None) -> Conversation:
    """Draw one fragment of skill ``name`` alone; its last turn is the question, to be answered by the model.

    The reference answer is not part of the messages; it is in the last of ``turns``.

    Args:
        rng: the only source of randomness.
        name: the skill.
        split: which keys are asked.
        room: size of the fragment in tokens, for a skill with long contexts.
    """
    parts = draw(SKILLS[name], rng, split, budget=room)
    messages: list[Message] = []
    for turn in parts:
        if turn.skill == tone.SYSTEM:
            messages.append({"role": "system", "content": turn.user})
            continue
        messages += _said(turn, turn.user)
    asked = [turn for turn in parts if turn.skill != tone.SYSTEM]
    return Conversation(messages[:-1], asked, [dict(tool) for tool in parts[0].tools])
