"""Copying text exactly as given: sentences, words in no order, numbers, now and then a made-up word."""

import random

from penstock.zoo.data.base import Skill, Turn, article, capital, pseudo, spin
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS, THEMES, VERBS

LOOSE = sorted({*NOUNS, *ADJECTIVES, *NAMES, *VERBS, *(w for pool in THEMES.values() for w in pool)})
"""Every word of the lists, for texts without an order."""

_FRAMES = (
    "<t>\n\n{repeat|copy|write out} {the text above|this text}{|.| exactly.}",
    "{repeat|copy|say|write|echo|type} {after me|this|exactly this|the following|this text}: <t>",
    'repeat {|this sentence|the text|exactly}: "<t>"',
    'say "<t>"',
    "say: <t>",
    'please {repeat|say|write|copy}: "<t>"',
    'can you {say|repeat|copy|write} "<t>"?',
    "copy the following text exactly: <t>",
    "repeat exactly what i write: <t>",
    "repeat after me: <t>",
    "say <t>",
)
_AGAIN = (
    "again",
    "again, please",
    "say it again",
    "repeat that",
    "once more",
    "can you repeat that?",
    "repeat please",
)
_SHORT = (
    "hello",
    "hello world",
    "good morning",
    "thank you",
    "yes",
    "no",
    "i am here",
    "Penstock",
    "i love you",
    "cheese",
)


def sentence(rng: random.Random) -> str:
    """Return a short random sentence without its full stop."""
    noun, other, third = rng.sample(NOUNS, 3)
    old, new = rng.sample(ADJECTIVES, 2)
    who, friend = rng.sample(NAMES, 2)
    doing = rng.choice(VERBS)
    return rng.choice((
        f"the {old} {noun} {doing} near the {other}",
        f"the {old} {new} {noun} {doing} over the {other}",
        f"{who} {doing} with {friend} and {article(new)} {noun}",
        f"{who} has {rng.randint(2, 99)} {noun}s and one {other}",
        f"my {noun} is {old} and {new}",
        f"every {noun} {doing} in the {new} {other}",
        f"i like the {noun} but not the {new} {other}",
        f"to {noun} or not to {noun}, that is the {other}",
        f"{old} {noun}s and {new} {other}s {doing[:-1]} at {rng.choice(['night', 'noon', 'midnight'])}",
        f"{who} said that the {noun} {doing}, but {friend} saw only {article(other)} and {article(third)}",
        f"when the {noun} {doing}, the {other} {rng.choice(VERBS)}",
    ))  # fmt: skip


def prose(rng: random.Random, count: int) -> str:
    """Return ``count`` sentences with their full stops."""
    return " ".join(capital(sentence(rng)) + "." for _ in range(count))


def _numbers(rng: random.Random) -> str:
    most = rng.choice([9, 99, 99, 999, 999, 9999])
    glue = rng.choice([" ", " ", ", "])
    return glue.join(str(rng.randint(0, most)) for _ in range(rng.randint(1, 7)))


def _mixed(rng: random.Random) -> str:
    """Return words and numbers in turns, as codes and lists have them."""
    pairs = [f"{rng.choice(LOOSE)} {rng.randint(0, 999)}" for _ in range(rng.randint(1, 6))]
    return rng.choice([", ", "; ", " "]).join(pairs)


def _loose(rng: random.Random) -> str:
    """Return words in no order: nothing but copying can produce them."""
    words = rng.choices(LOOSE, k=rng.choice([1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 28]))
    if len(words) <= 8 and rng.random() < 0.25:
        words = [word.upper() if rng.random() < 0.1 else capital(word) for word in words]
    return rng.choice([" ", " ", " ", ", "]).join(words)


def _invented(rng: random.Random) -> str:
    """Return a few real words with a made-up one among them, or a made-up one alone."""
    words = rng.choices(LOOSE, k=rng.randint(0, 4))
    words.insert(rng.randint(0, len(words)), pseudo(rng)[: rng.randint(4, 8)])
    return " ".join(words)


def _text(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.25:
        text = sentence(rng)
        return capital(text) + rng.choice([".", "", "!", "?"]) if rng.random() < 0.6 else text
    if roll < 0.47:
        return prose(rng, rng.choice([2, 3, 3, 4, 5, 6]))
    if roll < 0.75:
        return _loose(rng)
    if roll < 0.85:
        return _numbers(rng)
    if roll < 0.92:
        return _mixed(rng)
    return _invented(rng) if roll < 0.97 else rng.choice(_SHORT)


def _sample(rng: random.Random) -> list[Turn]:
    text = _text(rng)
    user = spin(rng, rng.choice(_FRAMES), t=text)
    user = capital(user) if rng.random() < 0.5 and not user.startswith(text) else user
    key = "" if text in _SHORT else f"copy {text}"
    turns = [Turn("copying", user, text, key=key, expect={"text": text}, verbatim=True)]
    if rng.random() < 0.12:
        turns.append(Turn("copying", rng.choice(_AGAIN), text, key=key, expect={"text": text}))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    return bool(answer.strip() == turn.expect["text"])


SKILL = Skill("copying", _sample, _check)
