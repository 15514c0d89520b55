"""Texts that mean the same: what an embedder learns from and is tested on.

Two phrasings of one request, a question and the sentence that answers it, a question and the chunk of text
that holds the answer. A hash of the meaning keeps train and test apart, so that every phrasing of a meaning
that is asked in a test is unknown.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.zoo.data.base import Split, Turn, humanise, norm, spin, split_of
from penstock.zoo.data.encyclopaedia import TEXTS, Entry, attributes, entry, passages
from penstock.zoo.data.mixture import SKILLS

Source = Literal["paraphrase", "definition", "chunk"]
SOURCES: tuple[Source, ...] = ("paraphrase", "definition", "chunk")
"""Kinds of pairs."""

_POOL, _PHRASINGS = 8000, 40
"""Draws per skill; most phrasings that are kept of a meaning."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts of one meaning: what is searched with, and what is to be found."""

    query: str
    match: str
    meaning: str


def _by_answer(turn: Turn) -> str:
    return norm(turn.answer)


def _by_key(turn: Turn) -> str:
    return turn.key


def _by_intent(turn: Turn) -> str:
    return norm(turn.expect["answers"][0])


_MEANING: dict[str, Callable[[Turn], str]] = {
    "arithmetic": lambda turn: "" if turn.key.startswith("compare") else turn.key,
    "counting": _by_answer,
    "facts": lambda turn: "" if "don't know" in turn.answer else norm(turn.answer),
    "glossary": _by_answer,
    "lengths": lambda turn: turn.key if turn.expect["unit"] != "words" else "",
    "lists": _by_key,
    "refusals": _by_key,
    "smalltalk": _by_intent,
    "spelling": _by_key,
    "stories": _by_key,
    "yesno": lambda turn: norm(turn.answer) if turn.key else "",
}
"""What a first question of a skill means, as text; empty where that is not known."""

PHRASED = tuple(_MEANING)
"""Skills whose requests are paraphrased."""
_DEFINED = ("glossary", "facts")
"""Skills whose answers say all of what is asked."""


class Meanings:
    """All that was drawn of each meaning, by skill.

    Args:
        seed: of the draw.
        split: which meanings are kept.
        draws: per skill.
    """

    def __init__(self, seed: int | str, split: Split, draws: int = _POOL) -> None:
        self.split: Split = split
        self._seed, self._draws = seed, draws
        self._turns: dict[str, dict[str, list[Turn]]] = {}

    def of(self, name: str) -> dict[str, list[Turn]]:
        """Return the phrasings of every meaning of a skill; drawn when first asked for."""
        if name not in self._turns:
            means, rng = _MEANING[name], random.Random(f"meanings:{self._seed}:{name}")
            found: dict[str, dict[str, Turn]] = {}
            for _ in range(self._draws):
                turn = SKILLS[name].sample(rng)[0]
                meaning = means(turn)
                if meaning and split_of(f"meaning {name} {meaning}") == self.split:
                    texts = found.setdefault(f"{name}: {meaning}", {})
                    if len(texts) < _PHRASINGS:
                        texts.setdefault(norm(turn.user) or turn.user, turn)
            self._turns[name] = {meaning: list(texts.values()) for meaning, texts in found.items()}
        return self._turns[name]

    def pairs(self, rng: random.Random, source: Source, skills: Sequence[str] = ()) -> Iterator[Pair]:
        """Yield pairs without end (none where nothing is known), requests with typing noise.

        Args:
            rng: the only source of randomness.
            source: kind of pairs.
            skills: paraphrases of these skills only, if any are named.
        """
        if source == "chunk":
            return self._chunks(rng)
        if source == "definition":
            return self._definitions(rng)
        return self._paraphrases(rng, skills or PHRASED)

    def _paraphrases(self, rng: random.Random, skills: Sequence[str]) -> Iterator[Pair]:
        several = {
            name: [meaning for meaning, turns in self.of(name).items() if len(turns) > 1] for name in skills
        }
        names = [name for name in skills if several[name]]
        while names:
            name = rng.choice(names)
            meaning = rng.choice(several[name])
            query, match = rng.sample(self.of(name)[meaning], 2)
            yield Pair(_typed(rng, query), _typed(rng, match), meaning)

    def _definitions(self, rng: random.Random) -> Iterator[Pair]:
        meanings = [(name, meaning) for name in _DEFINED for meaning in self.of(name)]
        while True:
            name, meaning = rng.choice(meanings)
            turn = rng.choice(self.of(name)[meaning])
            yield Pair(_typed(rng, turn), turn.answer, meaning)

    def _chunks(self, rng: random.Random) -> Iterator[Pair]:
        """The encyclopaedia is endless: every pair has an entry of its own."""
        while True:
            item = entry(rng, (), rng.choice(list(TEXTS["relations"])))
            query, match, meaning = _asked(rng, item)
            if split_of(f"meaning chunk {meaning}") == self.split:
                yield Pair(humanise(rng, query), match, f"chunk: {meaning}")


def _asked(rng: random.Random, item: Entry) -> tuple[str, str, str]:
    """Return a question about an entry, the passage that answers it, and what the passage is about."""
    person, middle = (" ".join(part) for part in passages(item))
    if rng.random() < 0.3:
        return (
            spin(rng, item.link["ask"], p=item.person),
            person,
            f"{item.person} {item.relation} {item.sort}",
        )
    told = [attribute for attribute in attributes(item.sort) if attribute["name"] in item.values]
    return spin(rng, rng.choice(told)["ask"], m=item.middle), middle, item.middle


def distinct(found: Iterator[Pair], count: int) -> list[Pair]:
    """Return up to ``count`` pairs of different meanings and different texts; gives up where they run out."""
    kept: dict[str, Pair] = {}
    texts: set[str] = set()
    for pair in itertools.islice(found, 40 * count):
        if len(kept) == count:
            break
        if pair.meaning not in kept and norm(pair.match) not in texts:
            kept[pair.meaning] = pair
            texts.add(norm(pair.match))
    return list(kept.values())


def _typed(rng: random.Random, turn: Turn) -> str:
    return turn.user if turn.verbatim else humanise(rng, turn.user)
