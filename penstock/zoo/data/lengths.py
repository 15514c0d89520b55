"""Requests that say how long the answer shall be: repeat N times, N sentences, N tips, N parts, one word.

What is longer than a few items is numbered, so that the answer itself tells where to stop.
"""

import random
from collections.abc import Callable

from penstock.zoo.data.base import Skill, Turn, article, capital, imperative, norm, spin
from penstock.zoo.data.measure import asked_length, measured_length, within
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS, NUMBER_WORDS, THEMES
from penstock.zoo.data.yesno import member

__all__ = ["SKILL", "asked_length", "measured_length", "within"]

_TEXTS = load("lengths")
_PLAIN_TIMES = 6
_HEROES = [
    *THEMES["animals"],
    *THEMES["birds"],
    *THEMES["jobs"],
    "robot",
    "dragon",
    "wizard",
    "pirate",
    "king",
]
_SENTENCES = {
    3: "The <n> <v>.", 4: "The <a> <n> <v>.", 5: "The <a> <b> <n> <v>.", 6: "The <a> <n> <v> all day.",
    7: "The <n> <v> and the <m> sleeps.", 8: "The <a> <n> <v> near the old <m>.",
    9: "The <a> <n> <v> near the old <b> <m>.", 10: "Every day the <a> <n> <v> near the old <m>.",
}  # fmt: skip
_DOINGS = (
    "runs",
    "walks",
    "sings",
    "jumps",
    "waits",
    "dances",
    "works",
    "plays",
    "laughs",
    "travels",
    "rests",
)


def _number(rng: random.Random, count: int) -> str:
    return NUMBER_WORDS[count] if count <= 20 and rng.random() < 0.35 else str(count)


def _tail(rng: random.Random, least: int, most: int) -> int:
    """Draw a count with a heavy tail: most near the low end, a few at the high one."""
    return least + min(most - least, int((most - least) * 0.08 * rng.paretovariate(0.8) - 0.08))


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count != 1 else f"1 {unit.removesuffix('s')}"


def _turn(user: str, answer: str, key: str, unit: str, count: int, text: str, exact: bool = False) -> Turn:
    """``text`` must occur in the answer (or be all of it); ``count`` is in ``unit``."""
    expect = {"unit": unit, "count": count, "text": text, "exact": exact}
    return Turn("lengths", user, answer, f"lengths {key}", expect)


def times(word: str, count: int) -> str:
    """Return ``word`` so many times: bare for a few, numbered in one line for more."""
    if count <= _PLAIN_TIMES:
        return " ".join([word] * count)
    return ", ".join(f"{i}. {word}" for i in range(1, count + 1)) + "."


def _repeat(rng: random.Random) -> Turn:
    word = rng.choice(NOUNS + ADJECTIVES + NAMES + _TEXTS["phrases"] * 3 + ["hello"] * 20)
    count = rng.choice([rng.randint(2, 6), rng.randint(2, 15), _tail(rng, 7, 60), rng.randint(10, 60)])
    user = spin(rng, rng.choice(_TEXTS["times_asks"]), w=word, n=_number(rng, count))
    turn = _turn(user, times(word, count), f"times {word} {count}", "times", count, word, exact=True)
    return Turn(turn.skill, user, turn.answer, turn.key, turn.expect, verbatim=True)


def _events(rng: random.Random, count: int) -> list[str]:
    """Return ``count`` events of a day in their order, from one of the first on."""
    day = rng.choice(_TEXTS["days"])
    start = rng.randrange(min(5, len(day) - count + 1))
    return list(day[start : start + count])


def _story(rng: random.Random) -> Turn:
    """N sentences, either on numbered lines or as prose that counts itself: First, second, third."""
    hero, numbered = rng.choice(_HEROES), rng.random() < 0.5
    count = rng.choice([rng.randint(1, 6), rng.randint(3, 10), rng.randint(5, 25)])
    numbered = numbered or count > len(_TEXTS["ordinals"])
    sentences = [f"the {hero} {event}." for event in _events(rng, count)]
    if numbered:
        answer = "\n".join(f"{i}. {capital(text)}" for i, text in enumerate(sentences, 1))
    else:
        answer = " ".join(
            f"{first}, {text}" for first, text in zip(_TEXTS["ordinals"], sentences, strict=False)
        )
    amount = f"{_number(rng, count)} sentence{'s' * (count > 1)}"
    user = imperative(rng, rng.choice(_TEXTS["story_asks"]), n=amount, h=article(hero))
    if numbered and (count <= len(_TEXTS["ordinals"]) or rng.random() < 0.3):
        user = user.rstrip(".!?") + rng.choice(_TEXTS["numbered"]) + rng.choice([".", ""])
    return _turn(user, answer, f"story {hero} {count} {numbered}", "sentences", count, hero)


def _tips(rng: random.Random) -> Turn:
    topic = rng.choice(list(_TEXTS["tips"]))
    pool = _TEXTS["tips"][topic]
    count, start = rng.randint(1, len(pool)), rng.randrange(len(pool))
    chosen = (pool[start:] + pool[:start])[:count]
    answer = "\n".join(f"{i}. {text}" for i, text in enumerate(chosen, 1))
    template = rng.choice(_TEXTS["tip_asks"])
    template = template if count > 1 else template.replace("tips|tips|ideas|pieces", "tip|tip|idea|piece")
    template = template if count > 1 else template.replace("tips|things", "tip|thing")
    user = imperative(rng, template, n=_number(rng, count), t=topic)
    return _turn(user, answer, f"tips {topic} {count}", "items", count, "")


def _parts(rng: random.Random) -> Turn:
    """A story in N parts of three sentences each, under headings."""
    hero, count = rng.choice(_HEROES), rng.choice([2, 2, 3, 3, 4, 5, 6, 7, 8])
    events = _events(rng, 3 * count)
    parts = [
        f"Part {part + 1}\n" + " ".join(f"The {hero} {event}." for event in events[3 * part : 3 * part + 3])
        for part in range(count)
    ]
    user = imperative(rng, rng.choice(_TEXTS["part_asks"]), n=_number(rng, count), h=article(hero))
    return _turn(user, "\n\n".join(parts), f"parts {hero} {count}", "parts", count, hero)


def _sentence(rng: random.Random) -> Turn:
    count = rng.choice(list(_SENTENCES))
    noun, other = rng.sample(NOUNS, 2)
    first, second = rng.sample(ADJECTIVES, 2)
    answer = spin(rng, _SENTENCES[count], n=noun, m=other, a=first, b=second, v=rng.choice(_DOINGS))
    user = imperative(rng, rng.choice(_TEXTS["word_asks"]), n=_number(rng, count))
    return _turn(user, answer, f"words {norm(user)}", "words", count, "")


def _one_word(rng: random.Random) -> Turn:
    question, truth, key = member(rng)
    user = spin(rng, rng.choice(_TEXTS["one_word"]), q=question)
    answer = "Yes." if truth else "No."
    turn = _turn(user, answer, "", "words", 1, norm(answer), exact=True)
    return Turn(turn.skill, user, answer, key, turn.expect)


_KINDS: dict[Callable[[random.Random], Turn], int] = {
    _repeat: 5, _story: 5, _tips: 3, _parts: 2, _sentence: 2, _one_word: 3,
}  # fmt: skip


def _sample(rng: random.Random) -> list[Turn]:
    return [rng.choices(list(_KINDS), weights=list(_KINDS.values()))[0](rng)]


def _check(turn: Turn, answer: str) -> bool:
    """Exactly as long as asked, about what was asked, and finished."""
    if measured_length(turn, answer) != turn.expect["count"]:
        return False
    if turn.expect["exact"]:
        return norm(answer) == norm(turn.answer)
    return norm(turn.expect["text"]) in norm(answer) and answer.strip()[-1:] in (".", "!", "?")


SKILL = Skill("lengths", _sample, _check)
