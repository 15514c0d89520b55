"""How often an embedding finds the text of the same meaning: first, or among the first five. No torch."""

import itertools
import math
import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from penstock.zoo.data.base import Split, norm
from penstock.zoo.data.meanings import SOURCES, Meanings, Pair, Source, distinct
from penstock.zoo.exams.rows import wilson

Encode = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors [n, E]; their dot product says how alike they are."""

AMONG = 100
"""Texts among which the right one is searched."""
RECALL_AT = 5
_COLUMNS = 1 << 15
_DRAWS = 6000


@dataclass(frozen=True, slots=True)
class RetrievalScore:
    """How one kind of pairs was found; the intervals are Wilson's 95 %.

    Attributes:
        source: kind of pairs.
        first: share of queries whose match came first.
        first_low: lower end of its interval.
        first_high: upper end of it.
        five: share whose match was among the first five.
        five_low: lower end of its interval.
        five_high: upper end of it.
        queries: how many.
        among: texts among which each match was searched.
    """

    source: Source
    first: float
    first_low: float
    first_high: float
    five: float
    five_low: float
    five_high: float
    queries: int
    among: int


@dataclass(frozen=True, slots=True)
class Search:
    """Held-out pairs, and texts of other meanings that fill the candidates up."""

    asked: list[Pair]
    others: list[str]


@lru_cache(maxsize=8)
def _meanings(seed: str, split: Split, draws: int) -> Meanings:
    return Meanings(seed, split, draws)


def searches(
    source: Source, seed: int = 0, rounds: int = 5, among: int = AMONG, draws: int = _DRAWS
) -> list[Search]:
    """Return searches of held-out pairs, each among all texts of its search; their meanings differ.

    Where there are fewer held-out meanings than ``among``, texts of the training split fill up.
    """
    unseen = _meanings(f"retrieval:{seed}", "test", draws)
    seen = _meanings(f"retrieval:{seed}", "train", draws)
    found = []
    for number in range(rounds):
        rng = random.Random(f"retrieval:{seed}:{source}:{number}")
        asked = distinct(unseen.pairs(rng, source), among)
        fill = distinct(seen.pairs(rng, source), among - len(asked)) if len(asked) < among else []
        found.append(Search(asked, [pair.match for pair in fill]))
    return found


def score(encode: Encode, source: Source, found: Sequence[Search]) -> RetrievalScore:
    """Measure an encoder; a tie counts as a miss."""
    first = five = queries = 0
    for search in found:
        query_QE = encode([pair.query for pair in search.asked])
        text_TE = encode([pair.match for pair in search.asked] + search.others)
        alike_QT = query_QE @ text_TE.T
        own_Q = alike_QT.diagonal()
        rank_Q = (alike_QT >= own_Q[:, None]).sum(1) - 1
        first += int((rank_Q == 0).sum())
        five += int((rank_Q < RECALL_AT).sum())
        queries += len(search.asked)
    among = len(found[0].asked) + len(found[0].others)
    return RetrievalScore(
        source,
        first / queries,
        *wilson(first, queries),
        five / queries,
        *wilson(five, queries),
        queries,
        among,
    )


def evaluate_embedder(
    encode: Encode, seed: int = 0, rounds: int = 5, draws: int = _DRAWS
) -> list[RetrievalScore]:
    """Measure an encoder on every kind of pairs.

    Args:
        encode: what is measured.
        seed: another seed draws other texts.
        rounds: of up to `AMONG` queries each.
        draws: requests drawn per skill, of whose meanings the held-out ones are asked.
    """
    return [score(encode, source, searches(source, seed, rounds, draws=draws)) for source in SOURCES]


class TfIdf:
    """The baseline: bags of words, rare ones weighing more (Salton and Buckley 1988), compared by cosine.

    Args:
        texts: where words are counted; unknown words weigh as the rarest.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        counts = Counter(word for text in texts for word in set(norm(text).split()))
        self._idf = {word: math.log((1 + len(texts)) / (1 + n)) + 1 for word, n in counts.items()}
        self._rarest = math.log(1 + len(texts)) + 1

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [n, columns]; words are hashed to columns."""
        rows_NC = np.zeros((len(texts), _COLUMNS), np.float32)
        for row_C, text in zip(rows_NC, texts, strict=True):
            for word, count in Counter(norm(text).split()).items():
                weight = (1 + math.log(count)) * self._idf.get(word, self._rarest)
                row_C[zlib.crc32(word.encode()) % _COLUMNS] += weight
        length_N = np.linalg.norm(rows_NC, axis=1, keepdims=True)
        rows_NC /= np.maximum(length_N, 1e-9)
        return rows_NC


def baseline(seed: int = 0, count: int = 1000) -> TfIdf:
    """Return the baseline with words counted over ``count`` training pairs of each kind."""
    known, rng = Meanings(f"baseline:{seed}", "train", 2 * count), random.Random(f"baseline:{seed}")
    drawn = [pair for source in SOURCES for pair in itertools.islice(known.pairs(rng, source), count)]
    return TfIdf([text for pair in drawn for text in (pair.query, pair.match)])
