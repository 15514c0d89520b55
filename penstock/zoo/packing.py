"""Packed training batches, a pure function of (seed, step): resuming needs no state of the stream.

Shape legend: R rows, T tokens in a row.
"""

import random
from dataclasses import dataclass
from typing import Any

import torch

from penstock.zoo.data import conversation
from penstock.zoo.recipes import Recipe, Stage
from penstock.zoo.tokenizer import encode_conversation

_USUAL_LENGTH = 10
_DECISIVE = 2.5


@dataclass(frozen=True, slots=True)
class Batch:
    """A packed batch.

    Attributes:
        ids_RT: token ids.
        weight_RT: weight of the loss for predicting this token (zero at the start of a document).
        position_RT: position within the document.
        document_RT: number of the document in its row; attention stays inside.
    """

    ids_RT: torch.Tensor
    weight_RT: torch.Tensor
    position_RT: torch.Tensor
    document_RT: torch.Tensor


def token_weights(mine: list[bool], prompt_weight: float) -> list[float]:
    """Return the loss weight of every token of a dialogue; ``mine`` marks what the assistant wrote.

    A short answer weighs more per token than a long one, and within an answer its first token (yes or no,
    what kind of reply) and its last three (the verdict; stop here or go on) weigh most: there the decisions
    fall that a plain mean over tokens drowns among the many that follow by themselves.
    """
    weights = [0.0, *(prompt_weight for _ in mine[1:])]
    start = 0
    while True in mine[start:]:
        start = mine.index(True, start)
        end = mine.index(False, start) if False in mine[start:] else len(mine)
        share = min(2.0, max(0.4, (_USUAL_LENGTH / (end - start)) ** 0.5))
        weights[start:end] = [share] * (end - start)
        for decisive in {start, *range(max(start, end - 3), end)}:
            weights[decisive] = share * _DECISIVE
        start = end
    return weights


def _row(rng: random.Random, tokenizer: Any, recipe: Recipe, stage: Stage) -> list[list[float]]:
    ids: list[float] = []
    weights: list[float] = []
    positions: list[float] = []
    documents: list[float] = []
    number = 0
    while len(ids) < stage.length:
        turns = rng.randint(1, stage.turns) if stage.turns else None
        talk = conversation(rng, "train", recipe.weights, turns)
        tokens, mine = encode_conversation(tokenizer, talk.messages)
        ids += tokens
        weights += token_weights(mine, recipe.prompt_weight)
        positions += range(len(tokens))
        documents += [number] * len(tokens)
        number += 1
    return [
        ids[: stage.length],
        weights[: stage.length],
        positions[: stage.length],
        documents[: stage.length],
    ]


def make_batch(tokenizer: Any, recipe: Recipe, stage: Stage, step: int) -> Batch:
    """Return the batch of ``step`` (counted over the whole recipe)."""
    rng = random.Random(f"{recipe.seed}:{step}")
    rows = [_row(rng, tokenizer, recipe, stage) for _ in range(stage.rows)]
    ids, weights, positions, documents = zip(*rows, strict=True)
    return Batch(
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(weights, dtype=torch.float32),
        torch.tensor(positions, dtype=torch.long),
        torch.tensor(documents, dtype=torch.long),
    )
