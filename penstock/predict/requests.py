"""Samples without a model at work: the zoo's requests with the lengths of their reference answers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

from penstock.predict.traffic import Sample
from penstock.zoo import bundled_model_path
from penstock.zoo.data.foreseeable import foreseeable


def bundled_tokenizer() -> Any:
    """Return the tokenizer of the bundled chat model, as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(bundled_model_path())


def reference_samples(
    count: int,
    seed: int | str,
    split: Literal["train", "test"] = "train",
    tokenizer: Any = None,
    report: Callable[[int], None] | None = None,
) -> tuple[list[str], list[Sample]]:
    """Return the skill of each request, and prompt and answer length as the bundled model sees them.

    Args:
        count: how many.
        seed: of the draw.
        split: the questions of the two splits are disjoint.
        tokenizer: with the chat template; the bundled model's by default.
        report: called after each request with how many there are.
    """
    tokenizer = tokenizer or bundled_tokenizer()
    skills, samples = [], []
    for request in itertools.islice(foreseeable(seed, split), count):
        text = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
        answer = tokenizer.encode(request.answer, add_special_tokens=False)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        skills.append(request.skill)
        samples.append(Sample(tuple(prompt), len(answer) + 1))  # the end token counts
        if report is not None:
            report(len(samples))
    return skills, samples
