"""Questions about a text that are answered by quoting its one sentence that answers them."""

import random
import re
from collections import Counter

from penstock.zoo.data.base import Skill, Turn, norm, split_of, tokens_of, tokens_of_turns
from penstock.zoo.data.chunks import aside, entries_of, every_question
from penstock.zoo.data.encyclopaedia import passages
from penstock.zoo.data.prose import (
    NOT_IN_TEXT,
    NOUN_POOL,
    ask_about,
    coin,
    fill,
    questions,
    shuffled,
    size,
)
from penstock.zoo.data.words import NAMES

_INTROS = ("Read this text.", "Here is a text.", "Text:", "Answer with a quote from this text.")
_MENTIONS = (
    "Which sentence mentions <w>?",
    "Quote the sentence about <w>.",
    "What does the text say about <w>? Quote it.",
)
_QUOTE = ("Quote the sentence.", "Answer with a quote.", "Quote the text.")
_NOTHING = f"The text says nothing: that is {NOT_IN_TEXT}."
_EACH, _LEAST, _ABSENT = 42, 128, 0.12
_WORDS = frozenset((*NOUN_POOL, *NAMES))


def _turn(ask: str, sentence: str, key: str) -> Turn:
    answer = f'The text says: "{sentence}"' if sentence else _NOTHING
    return Turn("quoting", ask, answer, f"quoting {key}", {"quote": sentence}, verbatim=True)


def _named(word: str) -> str:
    return word if word in NAMES else f"the {word}"


def _singular(word: str) -> str:
    return word[:-1] if word[:-1] in _WORDS else word


def _mentions(rng: random.Random, sentences: list[str]) -> list[Turn]:
    """Return questions for sentences by a word that only they have, and some for words that none has."""
    words = [frozenset(map(_singular, re.findall(r"\w+", text))) & _WORDS for text in sentences]
    count = Counter(word for found in words for word in found)
    turns = []
    for text, found in zip(sentences, words, strict=True):
        alone = sorted(word for word in found if count[word] == 1)
        if alone:
            word = rng.choice(alone)
            ask = rng.choice(_MENTIONS).replace("<w>", _named(word))
            turns.append(_turn(ask, text, f"{word} {norm(text)}"))
    body = " ".join(sentences).lower()
    absent = [word for word in sorted(_WORDS) if word.lower() not in body]
    for word in rng.sample(absent, min(len(absent), max(12, len(turns) // 6))):
        ask = rng.choice(_MENTIONS).replace("<w>", _named(word))
        turns.append(_turn(ask, "", f"{word} nowhere"))
    return turns


def _facts(rng: random.Random, room: int) -> tuple[list[str], list[Turn]]:
    """Return sentences of an invented encyclopaedia, with questions that one of them answers or none does."""
    entries = entries_of(rng, round(room * rng.uniform(0.3, 0.9)))
    told = [text for item in entries for part in passages(item) for text in part]
    turns = []
    for present in (True, False):
        for turn in every_question(rng, entries, 1, present):
            ask = f"{turn.user} {rng.choice(_QUOTE)}"
            turns.append(_turn(ask, turn.expect["last"] if present else "", turn.key))
    spare = room - sum(tokens_of(" " + text) for text in told)
    return shuffled(rng, told + fill(rng, spare, lambda rng: aside(entries, rng))), turns


def _choose(rng: random.Random, turns: list[Turn], count: int, split: str) -> list[Turn]:
    """Return ``count`` of ``turns`` in random order, one in eight or so without an answer."""
    mine = [turn for turn in turns if split_of(turn.key) == split]
    rng.shuffle(mine)
    missing = [turn for turn in mine if not turn.expect["quote"]]
    there = [turn for turn in mine if turn.expect["quote"]]
    chosen: list[Turn] = []
    while len(chosen) < count and (missing or there):
        kind = missing if missing and (not there or rng.random() < _ABSENT) else there
        if kind is missing and len(chosen) > 1 and not there:
            break
        chosen.append(kind.pop())
    return chosen


def _sized(rng: random.Random, tokens: int) -> list[Turn]:
    """Draw a text and questions about it that take at most ``tokens``; needs 128 or more."""
    if tokens < _LEAST:
        raise ValueError(f"a text with a question takes {_LEAST} tokens or more, not {tokens}")
    split = coin(rng)
    count = questions(rng, tokens, _EACH) if split == "train" else 1
    intro, first, facts = rng.choice(_INTROS), rng.random() < 0.15, rng.random() < 0.55
    room = tokens - count * _EACH - 12
    while True:
        if facts:
            sentences, turns = _facts(rng, room)
        else:
            sentences = fill(rng, room)
            turns = _mentions(rng, sentences)
        turns = _choose(rng, turns, count, split)
        if not turns:
            continue
        found = [ask_about(" ".join(sentences), turns[0], intro, first), *turns[1:]]
        if tokens_of_turns(found) <= tokens:
            return found
        room -= 8
        count = max(1, count - 1) if room < 60 else count


def _sample(rng: random.Random) -> list[Turn]:
    return _sized(rng, size(rng))


def _check(turn: Turn, answer: str) -> bool:
    """Accept an answer whose quote is the sentence to the letter, or none where nothing answers."""
    quotes = re.findall(r'"([^"]*)"', answer)
    if turn.expect["quote"]:
        return quotes == [turn.expect["quote"]]
    return not quotes and NOT_IN_TEXT in answer


SKILL = Skill("quoting", _sample, _check, _sized)
