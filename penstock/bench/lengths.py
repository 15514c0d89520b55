"""Records how long a model's answers get: traffic to train a length ranker on."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

from penstock.frontend.llm import LLM
from penstock.predict.traffic import Sample
from penstock.zoo.data.foreseeable import PREDICTABLE, foreseeable


def predictable(
    count: int, seed: int, split: Literal["train", "test"] = "train"
) -> list[list[dict[str, str]]]:
    """Return conversations that ask for lists of so many things, counts, repetitions, stories, yes or no.

    Args:
        count: how many.
        seed: of the draw.
        split: the questions of the two splits are disjoint.
    """
    asked = foreseeable(seed, split, PREDICTABLE)
    return [request.messages for request in itertools.islice(asked, count)]


def answer(
    llm: LLM, conversations: Sequence[Sequence[dict[str, str]]], progress: bool = False, **params: Any
) -> list[Sample]:
    """Have a model answer, and return prompts and answer lengths; what failed is left out."""
    outputs = llm.chat(list(conversations), {"temperature": 0.0, **params}, progress=progress)
    return [
        Sample(out.prompt_token_ids, len(out.outputs[0].token_ids))
        for out in outputs
        if out.outputs[0].finish_reason in ("stop", "length") and out.outputs[0].token_ids
    ]
