"""The workloads, made from seeds alone and written to one file each, which every adapter reads.

Token ids are uniform, lengths uniform within their bounds; lengths are then nudged one by one to totals that
were fixed once, so that figures of different runs and machines stay comparable. ``waves`` lists requests by
index: a wave is sent when the one before it has ended.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VOCAB = 32_000
"""Of the tokenizer; id 0 is its one special token and is not drawn."""


@dataclass(frozen=True)
class Workload:
    """What a workload asks for."""

    name: str
    model: str
    """``S`` or ``T``; see `models`."""
    requests: int
    prompt: tuple[int, int]
    """Tokens of a prompt, at least and at most; without the shared prefix."""
    output: tuple[int, int]
    prompt_total: int
    """Over all requests; with the shared prefix."""
    output_total: int
    prefix: int = 0
    """Tokens that all prompts begin with."""
    staggered: bool = False
    """The first request ends before the rest are sent."""
    title: str = ""


WORKLOADS = {
    one.name: one
    for one in (
        Workload("W1", "S", 1, (512, 512), (128, 128), 512, 128, title="one stream"),
        Workload("W2", "S", 32, (64, 512), (32, 192), 9_749, 3_278, title="32 mixed requests"),
        Workload("W3", "S", 32, (64, 64), (32, 32), 34_816, 1_024, 1_024, title="shared prefix, all at once"),
        Workload(
            "W3s",
            "S",
            32,
            (64, 64),
            (32, 32),
            34_816,
            1_024,
            1_024,
            True,
            title="shared prefix, first request ahead",
        ),
        Workload("W4", "T", 256, (32, 256), (16, 128), 36_218, 19_059, title="256 requests, small model"),
        Workload("tiny", "T", 4, (8, 24), (4, 12), 64, 32, title="to try things out"),
    )
}
DEFAULT = ("W1", "W2", "W3", "W3s", "W4")
WARM_UP = Workload("warm-up", "", 2, (48, 48), (8, 8), 96, 16)


def _below(rng: random.Random, end: int) -> int:
    """Draw from ``range(end)``; of `random`, only ``random()`` promises the same values everywhere."""
    return int(rng.random() * end)


def _lengths(rng: random.Random, count: int, bounds: tuple[int, int], total: int) -> list[int]:
    low, high = bounds
    lengths = [low + _below(rng, high - low + 1) for _ in range(count)]
    if not low * count <= total <= high * count:
        raise ValueError(f"{count} lengths of {low} to {high} cannot sum to {total}")
    while (missing := total - sum(lengths)) != 0:
        index = _below(rng, count)
        lengths[index] = min(high, max(low, lengths[index] + (1 if missing > 0 else -1)))
    return lengths


def build(workload: Workload, seed: int = 0) -> dict[str, Any]:
    """Return the content of a workload's file; the same for the same seed, everywhere."""
    rng = random.Random(f"{workload.name}/{seed}")
    token: Callable[[], int] = lambda: 1 + _below(rng, VOCAB - 1)  # noqa: E731
    own = workload.prompt_total - workload.requests * workload.prefix
    prompts = _lengths(rng, workload.requests, workload.prompt, own)
    outputs = _lengths(rng, workload.requests, workload.output, workload.output_total)
    prefix = [token() for _ in range(workload.prefix)]
    requests = [
        {"prompt": prefix + [token() for _ in range(length)], "output": output}
        for length, output in zip(prompts, outputs, strict=True)
    ]
    indices = list(range(workload.requests))
    waves = [indices[:1], indices[1:]] if workload.staggered else [indices]
    return {
        "name": workload.name,
        "model": workload.model,
        "seed": seed,
        "greedy": True,
        "ignore_eos": True,
        "waves": waves,
        "requests": requests,
    }


def write(workload: Workload, folder: Path, seed: int = 0) -> Path:
    """Write the workload's file, unless it is there, and return its place."""
    path = folder / f"{workload.name}-{seed}.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(build(workload, seed)), encoding="utf-8")
        partial.replace(path)
    return path
