"""Editing a given text by instruction: words, order, case, parts, joining. One right answer each."""

import json
import random
from collections.abc import Callable

from penstock.zoo.data.base import Skill, Turn, capital, spin
from penstock.zoo.data.copying import LOOSE, sentence
from penstock.zoo.data.words import ADJECTIVES, NOUNS, NUMBER_WORDS

Edit = tuple[str, str]
"""A request without the text, and the answer."""

_CASED = NOUNS[:120]
"""Words that change their case: few, for capital letters are other tokens and must be learnt word by word."""

_PLAIN = [word for word in LOOSE if " " not in word and word.islower()]
_ABOVE = "<t>\n\n<i>"
_BELOW = ("<i>: <t>", '<i>: "<t>"', "<i>:\n<t>")


def _words(text: str) -> list[str]:
    return text.rstrip(".").split()


def _replace(rng: random.Random, text: str) -> Edit:
    old, new = rng.choice(_words(text)), rng.choice(NOUNS + ADJECTIVES)
    ask = spin(rng, "{replace|change|swap} {|the word }'<a>' {by|with|to} '<b>'", a=old, b=new)
    return ask, _swapped(text, old, new)


def _remove(rng: random.Random, text: str) -> Edit:
    old = rng.choice(_words(text))
    return spin(rng, "{remove|delete|leave out} {|the word }'<a>'", a=old), _swapped(text, old, "")


def _swapped(text: str, old: str, new: str) -> str:
    stop = "." if text.endswith(".") else ""
    kept = [new if word == old else word for word in _words(text)]
    return " ".join(word for word in kept if word) + stop


def _line(rng: random.Random) -> str:
    """Return a sentence whose marks stand at its end only, or a row of loose words."""
    if rng.random() < 0.3:
        return " ".join(rng.sample(_PLAIN, rng.randint(3, 8)))
    text = sentence(rng)
    while "," in text:
        text = sentence(rng)
    return text + rng.choice(["", "."])


def _word_edit(rng: random.Random) -> tuple[str, Edit]:
    text = _line(rng)
    return text, rng.choice((_replace, _remove))(rng, text)


def _case(rng: random.Random) -> tuple[str, Edit]:
    text = " ".join(rng.sample(_CASED, rng.randint(1, 4)))
    if rng.random() < 0.6:
        return text, (spin(rng, "{write|put} this in {capital letters|upper case|uppercase}"), text.upper())
    return text.upper(), (spin(rng, "{write|put} this in {small letters|lower case|lowercase}"), text)


def _sentences(rng: random.Random) -> tuple[str, Edit]:
    parts = [capital(sentence(rng)) + "." for _ in range(rng.choice([2, 2, 3, 3, 4]))]
    text, roll = " ".join(parts), rng.randrange(4)
    if roll == 0:
        return text, ("reverse the order of the sentences", " ".join(reversed(parts)))
    which = rng.randrange(len(parts))
    if roll == 1:
        which = rng.choice([0, -1])
    name = ("first", "second", "third", "fourth", "last")[which]
    if roll == 3:
        left = [part for i, part in enumerate(parts) if i != which % len(parts)]
        return text, (spin(rng, "{remove|delete|leave out} the <n> sentence", n=name), " ".join(left))
    return text, (spin(rng, "{write|give me|copy} {|only }the <n> sentence", n=name), parts[which])


def _list(rng: random.Random) -> tuple[str, Edit]:
    items = rng.sample(_PLAIN, rng.randint(3, 7))
    text, roll = ", ".join(items), rng.randrange(8)
    if roll <= 1:
        return text, (spin(rng, "reverse {the|this} list"), ", ".join(reversed(items)))
    if roll <= 3:
        items = _apart(rng)
        ask = spin(rng, "sort {the|this} list {alphabetically|by the alphabet|from a to z}")
        return ", ".join(items), (ask, ", ".join(sorted(items)))
    if roll == 4:
        place = rng.choice([0, -1])
        name = "first" if place == 0 else "last"
        return text, (spin(rng, "{write|give me|copy} {|only }the <n> word", n=name), items[place])
    if roll == 5:
        return " ".join(items), ("join the words with commas", text)
    if roll == 6:
        return text, (spin(rng, "{put|write} {each word|every word} on its own line"), "\n".join(items))
    return text, (
        spin(rng, "{make|write} a numbered list"),
        "\n".join(f"{i}. {x}" for i, x in enumerate(items, 1)),
    )


def _apart(rng: random.Random) -> list[str]:
    """Return three to five words whose first letters differ."""
    count, found = rng.randint(3, 5), list[str]()
    while len(found) < count:
        word = rng.choice(_PLAIN)
        if word[0] not in {other[0] for other in found}:
            found.append(word)
    return found


def _count(rng: random.Random) -> tuple[str, Edit]:
    """Counting word by word: the answer shows its work and ends with the number."""
    words = rng.sample(_PLAIN, rng.randint(2, 9))
    work = ", ".join(f"{i} {word}" for i, word in enumerate(words, 1))
    asks = "{count the words|how many words are there|how many words are in this text}"
    return " ".join(words), (spin(rng, asks), f"{work}. {capital(NUMBER_WORDS[len(words)])} words.")


def _quoted(rng: random.Random) -> tuple[str, Edit]:
    """Words as JSON: teaches how each is spelled behind a quotation mark, which extraction and calls need."""
    words = rng.sample(LOOSE, rng.randint(2, 10))
    ask = rng.choice(("{write|give me} {this|the} list as JSON", "{make|write} a JSON list{| of the words}"))
    return ", ".join(words), (spin(rng, ask), json.dumps(words))


_KINDS: tuple[tuple[float, Callable[[random.Random], tuple[str, Edit]]], ...] = (
    (0.32, _word_edit), (0.08, _case), (0.18, _sentences), (0.23, _list), (0.07, _count), (0.12, _quoted),
)  # fmt: skip


def _sample(rng: random.Random) -> list[Turn]:
    kinds = [kind for _, kind in _KINDS]
    text, (ask, answer) = rng.choices(kinds, weights=[share for share, _ in _KINDS])[0](rng)
    if rng.random() < 0.3:
        user = spin(rng, _ABOVE, t=text, i=capital(ask) + ("?" if ask.startswith("how") else "."))
    else:
        user = spin(rng, rng.choice(_BELOW), t=text, i=ask if rng.random() < 0.4 else capital(ask))
    return [Turn("editing", user, answer, f"edit {ask} {text}", {"text": answer}, verbatim=True)]


def _check(turn: Turn, answer: str) -> bool:
    return bool(answer.strip() == turn.expect["text"])


SKILL = Skill("editing", _sample, _check)
