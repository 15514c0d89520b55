"""Padded batches of short dialogues in an adapter's manner, a pure function of adapter and seed.

Shape legend: R rows, T tokens in a row.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from penstock.zoo.adapters.registry import Adapter
from penstock.zoo.data.base import humanise
from penstock.zoo.data.tone import PLAIN
from penstock.zoo.tokenizer import encode_conversation

_SYSTEM, _SECOND = 0.25, 0.25
_IGNORE = -100
_SORTED = 4


@dataclass(frozen=True, slots=True)
class Lesson:
    """A padded batch.

    Attributes:
        ids_RT: token ids, padded on the right.
        mask_RT: 1 where there is a token, 0 where there is padding.
        labels_RT: token ids where the assistant speaks, -100 elsewhere.
    """

    ids_RT: torch.Tensor
    mask_RT: torch.Tensor
    labels_RT: torch.Tensor


def dialogue(rng: random.Random, adapter: Adapter) -> list[dict[str, str]]:
    """Draw a training dialogue: now and then with a plain system prompt, now and then with a second turn."""
    messages: list[dict[str, str]] = []
    if rng.random() < _SYSTEM:
        messages.append({"role": "system", "content": rng.choice(PLAIN)})
    for _ in range(2 if rng.random() < _SECOND else 1):
        question, answer = adapter.lesson(rng, "train")
        user = question.user if question.verbatim or rng.random() < 0.5 else humanise(rng, question.user)
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": answer}]
    return messages


def lessons(tokenizer: Any, adapter: Adapter, seed: int) -> Iterator[Lesson]:
    """Yield batches without end; dialogues of like length share one, for padding is work for nothing."""
    rng = random.Random(f"adapter:{adapter.name}:{seed}")
    while True:
        drawn = [
            encode_conversation(tokenizer, dialogue(rng, adapter)) for _ in range(_SORTED * adapter.rows)
        ]
        drawn.sort(key=lambda pair: len(pair[0]))
        starts = list(range(0, len(drawn), adapter.rows))
        rng.shuffle(starts)
        for start in starts:
            yield _padded(drawn[start : start + adapter.rows], tokenizer.pad_token_id)


def _padded(rows: Sequence[tuple[list[int], list[bool]]], padding: int) -> Lesson:
    shape = (len(rows), max(len(ids) for ids, _ in rows))
    ids_RT = torch.full(shape, padding)
    mask_RT = torch.zeros(shape, dtype=torch.long)
    labels_RT = torch.full(shape, _IGNORE)
    for row, (ids, mine) in enumerate(rows):
        ids_RT[row, : len(ids)] = torch.tensor(ids)
        mask_RT[row, : len(ids)] = 1
        labels_RT[row, : len(ids)] = torch.tensor(
            [token if own else _IGNORE for token, own in zip(ids, mine, strict=True)]
        )
    return Lesson(ids_RT, mask_RT, labels_RT)
