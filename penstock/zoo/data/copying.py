"""Repeating text: sentences, loose words, numbers and made-up words, exactly as given."""

import random

from penstock.zoo.data.base import Skill, Turn, capital, pseudo, spin
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS, NUMBER_WORDS, THEMES, VERBS

_FRAMES = (
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
_TIMES = (
    "{say|repeat|write} {the word |}{|'}<w>{|'} <n> times",
    "{say|write|repeat} <w> <n> times",
    "repeat the word <w> <n> times, please",
    "can you {say|write|repeat} <w> <n> times?",
)
_SPELL = (
    "{spell|please spell|can you spell|spell out} {|the word }<w>",
    "how do you spell <w>?",
    "how is {|the word }<w> spelled?",
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
        f"{who} {doing} with {friend} and a {new} {noun}",
        f"{who} has {rng.randint(2, 99)} {noun}s and one {other}",
        f"my {noun} is {old} and {new}",
        f"every {noun} {doing} in the {new} {other}",
        f"i like the {noun} but not the {new} {other}",
        f"to {noun} or not to {noun}, that is the {other}",
        f"{old} {noun}s and {new} {other}s {doing[:-1]} at {rng.choice(['night', 'noon', 'midnight'])}",
        f"{who} said that the {noun} {doing}, but {friend} saw only a {other} and a {third}",
        f"when the {noun} {doing}, the {other} {rng.choice(VERBS)}",
    ))  # fmt: skip


def _text(rng: random.Random) -> str:
    kind = rng.randrange(8)
    if kind <= 2:
        text = sentence(rng)
        return capital(text) + rng.choice([".", "", "!", "?"]) if rng.random() < 0.6 else text
    if kind == 3:
        return " ".join(capital(sentence(rng)) + "." for _ in range(rng.randint(2, 4)))
    if kind == 4:
        everything = NOUNS + ADJECTIVES + NAMES + THEMES["animals"] + THEMES["fruits"]
        return " ".join(rng.choices(everything, k=rng.randint(1, 10)))
    if kind == 5:
        return " ".join(pseudo(rng) for _ in range(rng.randint(1, 5)))
    if kind == 6:
        return " ".join(str(rng.randint(0, rng.choice([9, 99, 9999]))) for _ in range(rng.randint(1, 7)))
    return rng.choice(_SHORT)


def _sample(rng: random.Random) -> list[Turn]:
    roll = rng.random()
    word = rng.choice(NOUNS + ADJECTIVES + NAMES)
    if roll < 0.16:
        count = rng.randint(2, 10)
        word = "hello" if rng.random() < 0.1 else word
        number = NUMBER_WORDS[count] if rng.random() < 0.5 else str(count)
        answer = " ".join([word] * count)
        user = spin(rng, rng.choice(_TIMES), w=word, n=number)
        return [
            Turn("copying", user, answer, key=f"times {word} {count}", expect={"text": answer}, verbatim=True)
        ]
    if roll < 0.22:
        answer = "-".join(word.upper())
        user = spin(rng, rng.choice(_SPELL), w=word)
        return [Turn("copying", user, answer, key=f"spell {word}", expect={"text": answer}, verbatim=True)]
    text = _text(rng)
    user = spin(rng, rng.choice(_FRAMES), t=text)
    user = capital(user) if rng.random() < 0.5 else user
    key = "" if text in _SHORT else f"copy {text}"
    turns = [Turn("copying", user, text, key=key, expect={"text": text}, verbatim=True)]
    if rng.random() < 0.12:
        turns.append(Turn("copying", rng.choice(_AGAIN), text, key=key, expect={"text": text}))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    return bool(answer.strip() == turn.expect["text"])


SKILL = Skill("copying", _sample, _check)
