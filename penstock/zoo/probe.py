"""A quick look at what a model has learnt, while it trains: held-out answers, teacher-forced."""

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from penstock.zoo.data.mixture import exam
from penstock.zoo.loss import counted, hidden_states, token_losses
from penstock.zoo.packing import Batch, Document, pack
from penstock.zoo.tokenizer import encode_conversation


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe found for one skill.

    Attributes:
        loss: mean cross-entropy of the answers' tokens, in nats.
        exact: share of answers of which every token was the likeliest one.
    """

    loss: float
    exact: float


class Probe:
    """Held-out questions of the named skills, packed once.

    Teacher forcing asks for each token of the reference answer behind the tokens before it: an answer that is
    exact here is the one that greedy decoding gives. Answers that may be worded freely are never exact.

    Args:
        tokenizer: the run's tokenizer.
        skills: names from ``SKILLS``.
        room: size of long contexts, in tokens.
        questions: how many for each skill.
    """

    def __init__(self, tokenizer: Any, skills: Iterable[str], room: int, questions: int = 12) -> None:
        self._batches: dict[str, list[Batch]] = {}
        for name in skills:
            rng = random.Random(f"probe:{name}")
            documents = [_question(rng, tokenizer, name, room) for _ in range(questions)]
            self._batches[name] = [pack(group, _size(group)) for group in _groups(documents)]

    def read(self, model: Any, autocast: bool) -> dict[str, Reading]:
        """Return the readings of ``model`` by skill."""
        readings = {}
        for name, batches in self._batches.items():
            losses: list[float] = []
            right: list[bool] = []
            for batch in batches:
                _read(model, batch, autocast, losses, right)
            readings[name] = Reading(sum(losses) / len(losses), sum(right) / len(right))
        return readings


def _question(rng: random.Random, tokenizer: Any, name: str, room: int) -> Document:
    item = exam(rng, name, "test", room)
    answer = {"role": "assistant", "content": item.turns[-1].answer}
    tokens, _ = encode_conversation(tokenizer, item.messages, item.tools)
    whole, _ = encode_conversation(tokenizer, [*item.messages, answer], item.tools)
    head = len(tokens) + 1
    return whole, [0.0] * head + [1.0] * (len(whole) - head)


def _groups(documents: list[Document], most: int = 4096) -> list[list[Document]]:
    groups: list[list[Document]] = [[]]
    for document in documents:
        if groups[-1] and _size([*groups[-1], document]) > most:
            groups.append([])
        groups[-1].append(document)
    return groups


def _size(documents: list[Document]) -> int:
    return sum(len(tokens) for tokens, _ in documents)


@torch.no_grad()
def _read(model: Any, batch: Batch, autocast: bool, losses: list[float], right: list[bool]) -> None:
    device = next(model.parameters()).device
    batch = batch.to(device)
    at_M = counted(batch)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=autocast):
        states_NW = hidden_states(model, batch.ids_N, batch.position_N, batch.starts_D)
        logits_MV = model.lm_head(states_NW[at_M])
    losses += token_losses(logits_MV, batch, at_M).tolist()
    hit_M = logits_MV.argmax(-1) == batch.ids_N[at_M + 1]
    document_M = torch.searchsorted(batch.starts_D, at_M, right=True)
    right += [bool(hit_M[document_M == number].all()) for number in set(document_M.tolist())]
