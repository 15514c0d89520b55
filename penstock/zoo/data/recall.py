"""Key-value recall: things with a code, a password or a color, scattered in a text, and asked for later."""

import random
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from penstock.zoo.data.base import Skill, Turn, capital, norm, spin, tokens_of, tokens_of_turns
from penstock.zoo.data.prose import (
    ADJECTIVE_POOL,
    NOT_IN_TEXT,
    NOUN_POOL,
    ask_about,
    coin,
    drawn,
    fill,
    questions,
    shuffled,
    size,
)  # fmt: skip
from penstock.zoo.data.words import NAMES, THEMES

_DIGITS = {"code": (3, 3, 4, 4, 4, 5, 5, 6), "number": (3, 4, 5)}
_WORDS = {"password": NOUN_POOL, "color": THEMES["colors"], "city": THEMES["cities"]}
_KINDS = ("code", "code", "code", "code", "number", "number", "password", "password", "color", "city")
_STATE = ("<F>.",) * 7 + (
    "Note that <f>.",
    "Remember that <f>.",
    "<T> has the <k> <v>.",
    "<T> has the <k> <v>.",
)
_INTRO = (
    "Read this text.",
    "Here is a text.",
    "Read the following text and answer the question.",
    "Text:",
    "",
)
_READ = ("Read this text. I will ask about it.", "I have read the text.")
_ASK = ("what is <w>?",) * 5 + ("tell me <w>.", "what is <w> in the text?", "do you know <w>?", "<w>?")
_ABSENT, _EACH, _LEAST = 0.12, 32, 96


@dataclass(frozen=True, slots=True)
class Pair:
    """A thing, the kind of what is told about it, and the value."""

    first: str
    second: str
    kind: str
    value: str

    @property
    def thing(self) -> str:
        """The thing in words: an adjective and a noun, or a noun and whose it is."""
        owned = self.second in NAMES
        return f"the {self.first} of {self.second}" if owned else f"the {self.first} {self.second}"

    @property
    def key(self) -> str:
        """What decides the split: the thing alone."""
        return f"recall {self.thing}"

    @property
    def what(self) -> str:
        """What is asked for."""
        return f"the {self.kind} of {self.thing}"

    def state(self, rng: random.Random) -> str:
        """Return the sentence that tells the value."""
        fact = f"{self.what} is {self.value}"
        slots = {"F": capital(fact), "f": fact, "T": capital(self.thing), "k": self.kind, "v": self.value}
        return spin(rng, rng.choice(_STATE), **slots)

    def answer(self, present: bool = True) -> str:
        """Return the reference answer; it names the key first, so that the value is a copy."""
        return f"{capital(self.what)} is {self.value if present else NOT_IN_TEXT}."


def _value(rng: random.Random, kind: str) -> str:
    if kind in _WORDS:
        return rng.choice(_WORDS[kind])
    count = rng.choice(_DIGITS[kind])
    return str(rng.randint(10 ** (count - 1), 10**count - 1))


def _pair(others: list[Pair], rng: random.Random) -> Pair:
    """Draw a pair; now and then one that is easily taken for one of ``others``."""
    kind, roll = rng.choice(_KINDS), rng.random()
    first, second = rng.choice(ADJECTIVE_POOL), rng.choice(NOUN_POOL)
    if rng.random() < 0.25:
        first, second = second, rng.choice(NAMES)
    if others and roll < 0.3:
        near = rng.choice(others)
        if roll < 0.05:
            first, second = near.first, near.second
        elif (near.second in NAMES) == (second in NAMES):
            first, second = (near.first, second) if roll < 0.18 else (first, near.second)
    return Pair(first, second, kind, _value(rng, kind))


def _new(rng: random.Random, taken: list[Pair], split: str) -> Pair:
    """Draw a pair of a thing of ``split``, not the same kind of the same thing as any taken; take it."""
    while True:
        pair = drawn(rng, partial(_pair, taken), lambda pair: pair.key, split)
        if all(pair.what != other.what for other in taken):
            taken.append(pair)
            return pair


def _turn(rng: random.Random, asked: list[Pair], present: list[bool]) -> Turn:
    """Return a turn that asks for one pair or for several at once."""
    ask = spin(rng, rng.choice(_ASK), w=" and ".join(pair.what for pair in asked))
    ask = capital(ask) if rng.random() < 0.8 else ask
    answer = " ".join(pair.answer(here) for pair, here in zip(asked, present, strict=True))
    expect = {"values": tuple(pair.value for pair in asked), "present": all(present)}
    return Turn("recall", ask, answer, asked[0].key, expect, verbatim=True)


def _others(
    rng: random.Random, room: int, share: float, taken: list[Pair], split: str, joint: str = " "
) -> list[str]:
    """Return sentences of ``room`` tokens that nothing is asked about, ``share`` of them pairs, shuffled."""
    pairs = fill(rng, round(room * share), lambda rng: _new(rng, taken, split).state(rng), joint)
    rest = room - sum(tokens_of(joint + text) for text in pairs)
    return shuffled(rng, pairs + fill(rng, rest, joint=joint))


def needle(
    rng: random.Random,
    tokens: int,
    depth: float,
    *,
    split: str = "test",
    question_first: bool = False,
    present: bool = True,
    pairs: float = 0.3,
    asked: int = 1,
) -> list[Turn]:
    """Return one question about a text of a given size, the pair asked for at a given place in it.

    Args:
        rng: the only source of randomness; the same state gives the same text whatever ``present`` is.
        tokens: most tokens, by :func:`tokens_of_turns`, of text, question and answer together; 96 or more.
        depth: share of the text before the pair, 0 to 1.
        split: which things occur.
        question_first: whether the question stands before the text.
        present: whether the pair is in the text at all; otherwise the answer says that it is not.
        pairs: share of the text that other pairs take; the rest is filler.
        asked: how many pairs the question asks for at once; the further ones lie anywhere.
    """
    taken: list[Pair] = []
    group = [_new(rng, taken, split) for _ in range(asked)]
    turn = _turn(rng, group, [present] * asked)
    spot, *further = [pair.state(rng) for pair in group]
    told = " ".join([spot, *further])
    room = tokens - tokens_of_turns([ask_about(told, turn, _INTRO[0], question_first)])
    others = _others(rng, room, pairs, taken, split)
    for text in further:
        place = rng.randrange(len(others) + 1)
        others[place:place] = [text] if present else []
    before = [0, *accumulate(tokens_of(" " + text) for text in others)]
    at = min(range(len(before)), key=lambda index: abs(before[index] - depth * before[-1]))
    text = " ".join([*others[:at], *([spot] if present else []), *others[at:]])
    return [ask_about(text, turn, _INTRO[0], question_first)]


def _asked(rng: random.Random, count: int, split: str, taken: list[Pair]) -> tuple[list[Turn], list[str]]:
    """Return ``count`` turns, some about what is not told, and the sentences that tell the others' values."""
    turns, told = [], []
    for _ in range(count):
        present = rng.random() >= _ABSENT
        several = rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 3)) if present and split == "train" else 1
        group = [_new(rng, taken, split) for _ in range(several)]
        turns.append(_turn(rng, group, [present] * several))
        told += [pair.state(rng) for pair in group] if present else []
    return turns, told


def _sized(rng: random.Random, tokens: int) -> list[Turn]:
    """Draw a text and questions about it that take at most ``tokens``; needs 96 or more."""
    if tokens < _LEAST:
        raise ValueError(f"a text with a question takes {_LEAST} tokens or more, not {tokens}")
    split = coin(rng)
    count = questions(rng, tokens, _EACH) if split == "train" else 1
    question_first, intro, joint = rng.random() < 0.25, rng.choice(_INTRO), rng.choice("\n    ")
    room = -1
    while room < 0:
        taken: list[Pair] = []
        turns, told = _asked(rng, count, split, taken)
        room = tokens - tokens_of_turns(
            [ask_about(joint.join(told), turns[0], intro, question_first), *turns[1:]]
        )
        count = max(1, count - 1)
    others = _others(rng, room - 2, rng.uniform(0.0, 0.9), taken, split, joint)
    text = joint.join(shuffled(rng, others + told))
    if not question_first and rng.random() < 0.3:
        lead = Turn("recall", f"{_READ[0]}\n{text}", _READ[1], turns[0].key, verbatim=True)
        if tokens_of_turns([lead, *turns]) <= tokens:
            return [lead, *turns]
    return [ask_about(text, turns[0], intro, question_first), *turns[1:]]


def _sample(rng: random.Random) -> list[Turn]:
    return _sized(rng, size(rng))


def _check(turn: Turn, answer: str) -> bool:
    return norm(answer) == norm(turn.answer)


SKILL = Skill("recall", _sample, _check, _sized)
