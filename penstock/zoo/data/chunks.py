"""Questions about numbered passages of an invented encyclopaedia: one passage answers, or two together do."""

import random
import re
from collections.abc import Mapping
from functools import cache, partial

from penstock.zoo.data.base import Skill, Turn, capital, norm, spin, split_of, tokens_of, tokens_of_turns
from penstock.zoo.data.encyclopaedia import TEXTS, Entry, attributes, entry, fact, passages, permuted
from penstock.zoo.data.prose import NOT_IN_TEXT, ask_about, coin, fill, filler, questions, size

_INTROS = ("Use these passages.", "Answer from these passages.", "Passages:", "Here are some passages.")
_EACH = {1: 36, 2: 48}
_LEAST = 128
_NAMES = {1: "single_chunk", 2: "two_chunk"}
_ABSENT = 0.12


def _turn(ask: str, answer: list[str], key: str, hops: int) -> Turn:
    last = answer[-1]
    expect = {"last": last, "steps": tuple(answer), "present": NOT_IN_TEXT not in last}
    return Turn(_NAMES[hops], capital(ask), " ".join(answer), f"chunks {key}", expect, verbatim=True)


def _about(rng: random.Random, item: Entry, attribute: Mapping[str, str], hops: int) -> Turn:
    """Return the question for an attribute of what ``item`` is about, by its name or by its person."""
    subject = item.middle if hops == 1 else spin(rng, item.link["phrase"], p=item.person)
    ask = spin(rng, attribute["ask"], m=subject)
    steps = [item.first, item.second(attribute)] if hops == 2 else [item.second(attribute)]
    key = f"{item.person} {item.middle}" if hops == 2 else item.middle
    return _turn(ask, steps, f"{key} {attribute['name']}", hops)


def _stranger(rng: random.Random, entries: list[Entry], hops: int) -> Turn:
    """Return a question about somebody or something that the passages do not mention."""
    item = entry(rng, entries, rng.choice(list(TEXTS["relations"])))
    attribute = rng.choice(attributes(item.sort))
    if hops == 1:
        nothing = Entry(item.person, item.sort, item.relation, item.middle, {})
        return _about(rng, nothing, attribute, 1)
    turn = _about(rng, item, attribute, 2)
    what = fact(item.link["fact"], p=item.person, m=f"a {item.sort} that is {NOT_IN_TEXT}")
    return _turn(turn.user, [what], turn.key, 2)


def every_question(rng: random.Random, entries: list[Entry], hops: int, present: bool) -> list[Turn]:
    """Return every question of a kind about ``entries``, in random order."""
    turns = [
        _about(rng, item, attribute, hops)
        for item in entries
        for attribute in attributes(item.sort)
        if (attribute["name"] in item.values) == present
    ]
    if hops == 1 and present:
        turns += [
            _turn(fact_ask, [item.first], f"{item.person} {item.relation}", 1)
            for item in entries
            for fact_ask in [spin(rng, item.link["ask"], p=item.person)]
        ]
    if not present:
        turns += [_stranger(rng, entries, hops) for _ in range(max(4, len(turns) // 2))]
    return rng.sample(turns, len(turns))


def _text(rng: random.Random, entries: list[Entry], extra: list[str]) -> str:
    """Return the numbered passages in random order, other sentences strewn in."""
    found = [part for item in entries for part in passages(item)]
    for text in extra:
        if rng.random() < 0.5:
            rng.choice(found).insert(0 if rng.random() < 0.3 else 9, text)
        else:
            found.append([text])
    rng.shuffle(found)
    return "\n".join(f"[{number}] {' '.join(part)}" for number, part in enumerate(found, 1))


def entries_of(rng: random.Random, room: int) -> list[Entry]:
    """Return an entry or more, of one sort or two, whose passages take at most ``room`` tokens or so."""
    sorts = rng.sample(list(TEXTS["relations"]), rng.choice((1, 2, 2, 3)))
    found: list[Entry] = []
    while True:
        new = entry(rng, found, sorts[len(found) % len(sorts)])
        room -= sum(tokens_of(" " + " ".join(part)) + 5 for part in passages(new))
        if (room < 0 and found) or len(found) > 35:
            return found
        found.append(new)


def aside(entries: list[Entry], rng: random.Random) -> str:
    """Return a sentence to strew in that tells nothing of the people of ``entries``."""
    people = {item.person for item in entries}
    while True:
        text = filler(rng)
        if people.isdisjoint(re.findall(r"\w+", text)):
            return text


def _choose(rng: random.Random, entries: list[Entry], count: int, hops: int, split: str) -> list[Turn]:
    """Return ``count`` questions or fewer; among those that need two passages some that need one."""

    @cache
    def kind(number: int, present: bool) -> list[Turn]:
        every = every_question(rng, entries, number, present)
        return [turn for turn in every if split_of(turn.key) == split]

    turns: list[Turn] = []
    while len(turns) < count:
        number = hops if split == "test" or rng.random() < 0.7 else 1
        left = kind(number, rng.random() >= _ABSENT) or kind(number, True)
        if not left:
            return turns
        turns.append(left.pop())
    return turns


def _draw(rng: random.Random, tokens: int, hops: int, split: str, count: int) -> list[Turn]:
    if tokens < _LEAST:
        raise ValueError(f"passages with a question take {_LEAST} tokens or more, not {tokens}")
    intro, first = rng.choice(_INTROS), rng.random() < 0.15
    while True:
        room = tokens - count * _EACH[hops] - 12
        entries = entries_of(rng, round(room * rng.uniform(0.4, 1.0)))
        turns = _choose(rng, entries, count, hops, split)
        count = max(1, count - 1)
        if not turns:
            continue
        bare = ask_about(_text(rng, entries, []), turns[0], intro, first)
        spare = tokens - tokens_of_turns([bare, *turns[1:]])
        if spare >= 0:
            extra = fill(rng, spare, partial(aside, entries), "\n[10] ")
            return [ask_about(_text(rng, entries, extra), turns[0], intro, first), *turns[1:]]


def _sized(hops: int, rng: random.Random, tokens: int) -> list[Turn]:
    split = coin(rng)
    return _draw(rng, tokens, hops, split, questions(rng, tokens, _EACH[hops]) if split == "train" else 1)


def _sample(hops: int, rng: random.Random) -> list[Turn]:
    return _sized(hops, rng, size(rng))


def question(
    rng: random.Random, tokens: int, hops: int = 2, *, split: str = "test", shuffled: bool = False
) -> list[Turn]:
    """Return one question, answered by the text, about passages of at most ``tokens`` tokens.

    Args:
        rng: the only source of randomness; the same state asks the same, whatever ``shuffled`` is.
        tokens: most tokens, by :func:`tokens_of_turns`, of passages, question and answer together.
        hops: passages that the answer needs, 1 or 2.
        split: which questions may be asked.
        shuffled: tell what the passages tell of other people, places and things than before; the expected
            answer stays the old one, so that only chance or foreknowledge gives it.
    """
    entries: list[Entry] = []
    asked: list[Turn] = []
    room = tokens - _EACH[hops] - 12
    while not asked:
        entries = entries_of(rng, round(room * 0.7))
        asked = [
            turn for turn in every_question(rng, entries, hops, present=True) if split_of(turn.key) == split
        ]
    spare = tokens - tokens_of_turns([ask_about(_text(rng, entries, []), asked[0], _INTROS[0], False)])
    extra = fill(rng, spare - 8, partial(aside, entries), "\n[10] ")
    if shuffled:
        entries = permuted(rng, entries)
    return [ask_about(_text(rng, entries, extra), asked[0], _INTROS[0], False)]


def _check(turn: Turn, answer: str) -> bool:
    """Accept an answer whose last sentence is the fact asked for; what it says before is its own affair."""
    return bool(norm(answer)) and norm(answer).endswith(norm(turn.expect["last"]))


SKILL = Skill(_NAMES[1], partial(_sample, 1), _check, partial(_sized, 1))
TWO = Skill(_NAMES[2], partial(_sample, 2), _check, partial(_sized, 2))
