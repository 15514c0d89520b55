"""Training batches: documents one after the other, a pure function of (recipe, stage, number).

So a run continues without any state of the stream, and batches can be made ahead in another process.
Shape legend: N tokens of a batch, D documents (padded to a fixed count).
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
_TRIES = 4
_CRUMBS = 24
"""Fewer tokens than this are left empty at the end of a batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A packed batch.

    Attributes:
        ids_N: token ids.
        weight_N: weight of the loss for predicting this token (zero at the start of a document).
        position_N: position within the document.
        starts_D: index of the first token of every document; entries of N are padding.
    """

    ids_N: torch.Tensor
    weight_N: torch.Tensor
    position_N: torch.Tensor
    starts_D: torch.Tensor

    def to(self, device: str | torch.device) -> "Batch":
        """Return the same batch on ``device``."""
        tensors = (self.ids_N, self.weight_N, self.position_N, self.starts_D)
        return Batch(*(tensor.to(device) for tensor in tensors))


Document = tuple[list[int], list[float]]
"""Token ids and their loss weights."""


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


def _document(rng: random.Random, tokenizer: Any, recipe: Recipe, stage: Stage, room: int) -> Document:
    """Draw a conversation that fits into ``room`` tokens, or after a few tries one that is cut there."""
    for _ in range(_TRIES):
        turns = rng.randint(1, stage.turns) if stage.turns else None
        talk = conversation(rng, "train", stage.mix, turns, room)
        tokens, mine = encode_conversation(tokenizer, talk.messages, talk.tools)
        if len(tokens) <= room:
            break
    taught = rng.random() < recipe.prompt_share
    weights = token_weights(mine, recipe.prompt_weight if taught else 0.0)
    return tokens[:room], weights[:room]


def pack(documents: list[Document], size: int) -> Batch:
    """Return a batch of ``size`` tokens that holds ``documents`` one after the other, then padding.

    Raises:
        ValueError: the documents take more.
    """
    lengths = [len(tokens) for tokens, _ in documents]
    left = size - sum(lengths)
    if left < 0:
        raise ValueError(f"documents of {sum(lengths)} tokens do not fit into {size}")
    starts = [sum(lengths[:i]) for i in range(len(lengths))] + ([size - left] if left else [])
    starts += [size] * (size // _CRUMBS + 2 - len(starts))
    ids = [token for tokens, _ in documents for token in tokens] + [0] * left
    weights = [weight for _, document in documents for weight in document] + [0.0] * left
    positions = [at for length in lengths for at in range(length)] + list(range(left))
    return Batch(
        torch.tensor(ids, dtype=torch.long),
        torch.tensor(weights, dtype=torch.float32),
        torch.tensor(positions, dtype=torch.long),
        torch.tensor(starts, dtype=torch.long),
    )


def make_batch(tokenizer: Any, recipe: Recipe, stage: Stage, number: int) -> Batch:
    """Return the batch of this number, counted over the whole recipe."""
    rng = random.Random(f"{recipe.seed}:{number}")
    documents: list[Document] = []
    left = size = stage.rows * stage.length
    while left >= _CRUMBS:
        documents.append(_document(rng, tokenizer, recipe, stage, min(left, stage.length)))
        left -= len(documents[-1][0])
    return pack(documents, size)
