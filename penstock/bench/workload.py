"""Datasets: what is asked for, and when. Deterministic by seed.

Lengths, arrival gaps and token ids are drawn from separate streams of one seed, so that changing the request
rate leaves every prompt as it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import gamma_arrivals, replay
from penstock.workload.lengths import Lengths, parse_lengths
from penstock.workload.readers.open import read_requests

DATASETS = ("random", "shared-prefix", "jsonl", "trace")
FIRST_ID = 10
"""Random token ids begin here: the lowest ids are special tokens in many vocabularies."""
_WORDS: tuple[str, ...] = (
    "the",
    "a",
    "one",
    "two",
    "day",
    "way",
    "time",
    "year",
    "house",
    "water",
    "light",
    "hand",
    "door",
    "road",
)
_WORDS += (
    "tree",
    "river",
    "stone",
    "bird",
    "song",
    "book",
    "green",
    "small",
    "large",
    "old",
    "new",
    "warm",
    "cold",
)
_WORDS += (
    "goes",
    "finds",
    "makes",
    "takes",
    "gives",
    "keeps",
    "sees",
    "hears",
    "knows",
    "holds",
    "turns",
    "opens",
)


@dataclass(slots=True)
class Item:
    """One request to send."""

    due: float
    """Seconds after the start of the run."""
    prompt: list[int] | str | list[dict[str, Any]]
    """Token ids, text, or chat messages."""
    output_tokens: int | None
    """Most tokens to generate; None leaves it to the server."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields added to this request's body."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """Everything that determines a workload."""

    dataset: str = "random"
    path: Path | None = None
    count: int = 0
    """Requests; 0 takes 100, or the whole file."""
    input_len: str = "128"
    output_len: str = "64"
    max_input_len: int = 0
    max_output_len: int = 0
    rate: float | None = None
    """Requests per second; None takes the trace's own times, or all at once."""
    burstiness: float = 1.0
    speed: float = 1.0
    """How much faster than recorded a trace is played."""
    prefix_len: int = 64
    groups: int = 4
    """Shared-prefix dataset: distinct prefixes."""
    vocab_size: int = 256
    """Random ids are drawn below it."""
    seed: int = 0


@dataclass(slots=True)
class _Streams:
    """Independent sources of chance, so that one knob does not stir what another one draws."""

    inputs: np.random.Generator
    outputs: np.random.Generator
    gaps: np.random.Generator
    tokens: np.random.Generator
    groups: np.random.Generator


def build_workload(spec: WorkloadSpec) -> list[Item]:
    """Return the requests in order of their due time.

    Raises:
        ConfigError: a setting or a file makes no sense.
    """
    check_workload(spec)
    children = np.random.SeedSequence(spec.seed).spawn(5)
    streams = _Streams(*(np.random.Generator(np.random.PCG64(child)) for child in children))
    make = {"random": _random, "shared-prefix": _shared_prefix, "jsonl": _jsonl, "trace": _trace}[
        spec.dataset
    ]
    items = make(spec, streams)
    if spec.rate is not None:
        due = gamma_arrivals(len(items), spec.rate, spec.burstiness, streams.gaps)
        for item, time in zip(items, due, strict=True):
            item.due = time
    return sorted(items, key=lambda item: item.due)


def random_ids(rng: np.random.Generator, count: int, vocab_size: int) -> list[int]:
    """Return ``count`` token ids drawn uniformly from the vocabulary, its lowest ids left out."""
    return [int(token) for token in rng.integers(min(FIRST_ID, vocab_size - 1), vocab_size, count)]


def check_workload(spec: WorkloadSpec) -> None:
    """Refuse settings that make no sense, before anything is loaded or read.

    Raises:
        ConfigError: names the flag.
    """
    if spec.dataset not in DATASETS:
        raise ConfigError("--dataset-name", f"expected one of {', '.join(DATASETS)}, got {spec.dataset!r}")
    if spec.dataset in ("jsonl", "trace") and spec.path is None:
        raise ConfigError("--dataset-path", f"the {spec.dataset} dataset reads a file; name it")
    if spec.path is not None and not spec.path.is_file():
        raise ConfigError("--dataset-path", f"cannot read {spec.path}: there is no such file")
    _input_lengths(spec)
    _output_lengths(spec)
    positive = {
        "--request-rate": 1.0 if spec.rate is None else spec.rate,
        "--burstiness": spec.burstiness,
        "--trace-speed": spec.speed,
    }
    for name, value in positive.items():
        if not value > 0:
            raise ConfigError(name, f"expected a number above 0, got {value:g}")
    least = {"--num-prompts": (spec.count, 0), "--seed": (spec.seed, 0), "--prefix-len": (spec.prefix_len, 0)}
    least |= {"--num-prefixes": (spec.groups, 1), "--vocab-size": (spec.vocab_size, 2)}
    for name, (number, bound) in least.items():
        if number < bound:
            raise ConfigError(name, f"expected a whole number >= {bound}, got {number}")


def _input_lengths(spec: WorkloadSpec) -> Lengths:
    return parse_lengths(spec.input_len, "--input-len", spec.max_input_len)


def _output_lengths(spec: WorkloadSpec) -> Lengths:
    return parse_lengths(spec.output_len, "--output-len", spec.max_output_len)


def _random(spec: WorkloadSpec, streams: _Streams) -> list[Item]:
    count = spec.count or 100
    inputs = _input_lengths(spec).sample(streams.inputs, count)
    outputs = _output_lengths(spec).sample(streams.outputs, count)
    return [
        Item(0.0, random_ids(streams.tokens, length, spec.vocab_size), output)
        for length, output in zip(inputs, outputs, strict=True)
    ]


def _shared_prefix(spec: WorkloadSpec, streams: _Streams) -> list[Item]:
    """Each request begins with one of a few prefixes, chosen at random, and ends in tokens of its own."""
    prefixes = [random_ids(streams.tokens, spec.prefix_len, spec.vocab_size) for _ in range(spec.groups)]
    items = _random(spec, streams)
    for item, group in zip(items, streams.groups.integers(0, spec.groups, len(items)), strict=True):
        item.prompt = prefixes[group] + item.prompt  # type: ignore[operator]
    return items


def _trace(spec: WorkloadSpec, streams: _Streams) -> list[Item]:
    assert spec.path is not None
    rows = list(read_requests(str(spec.path), limit=spec.count, field="--dataset-path"))
    due = replay([row.arrival for row in rows], spec.speed)
    return [
        Item(
            time,
            random_ids(streams.tokens, _clip(row.prompt_tokens, spec.max_input_len), spec.vocab_size),
            _clip(row.output_tokens, spec.max_output_len),
        )
        for time, row in zip(due, rows, strict=True)
    ]


def _clip(length: int, longest: int) -> int:
    return min(length, longest) if longest else length


def _jsonl(spec: WorkloadSpec, streams: _Streams) -> list[Item]:
    """Read prompts: ``prompt`` or ``messages`` per line, optional ``output_tokens`` and ``arrival``.

    Every other key goes into the request's body as it is, such as ``priority`` or ``user``.
    """
    assert spec.path is not None
    try:
        lines = spec.path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--dataset-path", f"cannot read {spec.path}: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ConfigError("--dataset-path", f"{spec.path} holds no prompts")
    chosen = numbered[: spec.count or None]
    fallback = _output_lengths(spec).sample(streams.outputs, len(chosen))
    items = [
        _read_prompt(spec.path, number, line, output)
        for (number, line), output in zip(chosen, fallback, strict=True)
    ]
    start = min(item.due for item in items)
    for item in items:
        item.due = (item.due - start) / spec.speed
    return items


def _read_prompt(path: Path, number: int, line: str, output_tokens: int) -> Item:
    where = f"{path} line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ConfigError("--dataset-path", f"{where}: not valid JSON: {error}") from None
    prompt = row.pop("prompt", None) or row.pop("messages", None) if isinstance(row, dict) else None
    if not isinstance(prompt, str | list):
        raise ConfigError("--dataset-path", f"{where}: expected an object with 'prompt' or 'messages'")
    try:
        due, output = float(row.pop("arrival", 0.0)), int(row.pop("output_tokens", output_tokens))
    except (TypeError, ValueError):
        raise ConfigError("--dataset-path", f"{where}: arrival and output_tokens must be numbers") from None
    row.pop("prompt_tokens", None)
    return Item(due, prompt, output, row)


def as_text(items: list[Item]) -> list[Item]:
    """Replace prompts of token ids by as many plain words, for endpoints that take text only.

    Word counts come near token counts but do not equal them; the server's own count is what is reported.
    """
    for item in items:
        if isinstance(item.prompt, list) and all(isinstance(token, int) for token in item.prompt):
            item.prompt = " ".join(_WORDS[token % len(_WORDS)] for token in item.prompt)  # type: ignore[operator]
    return items
