"""The embedder's model card, written by its recipe from what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.zoo.recipes import Shape
from penstock.zoo.retrieval import RetrievalScore


@dataclass(frozen=True, slots=True)
class Made:
    """How an embedder was made.

    Attributes:
        command: that makes it again.
        seed: of weights and data.
        temperature: that cosines were divided by.
        rate: peak learning rate.
        pairs: that the batches held, all together.
        losses: of all steps.
        minutes: processor time.
        hardware: what it ran on.
    """

    command: str
    seed: int
    temperature: float
    rate: float
    pairs: int
    losses: Sequence[float]
    minutes: float
    hardware: str


def first_and_last(losses: Sequence[float]) -> tuple[float, float]:
    """Return the mean loss of the first steps and of the last: a tenth of them each, ten at least."""
    few = max(10, len(losses) // 10)
    return sum(losses[:few]) / len(losses[:few]), sum(losses[-few:]) / len(losses[-few:])


def card(made: Made, shape: Shape, parameters: int, scores: Mapping[str, Sequence[RetrievalScore]]) -> str:
    """Return the card in Markdown; ``scores`` by the name of the encoder."""
    first, last = first_and_last(made.losses)
    lines = [
        f"| {name} | {row.source} | {_percent(row.first, row.first_low, row.first_high)} | "
        f"{_percent(row.five, row.five_low, row.five_high)} | {row.queries} |"
        for name, rows in scores.items()
        for row in rows
    ]
    among = next(iter(scores.values()))[0].among
    size, table = f"{parameters / 1e6:.2f}", "\n".join(lines)
    return f"""---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: feature-extraction
---
# embedder
A very small model that turns texts into vectors: the mean of the last hidden states of all tokens, begin
token included, scaled to length 1. `penstock serve --model embedder` and `POST /v1/embeddings` serve it;
transformers loads it as `LlamaModel` or `LlamaForCausalLM` (whose logits mean nothing). A test bench for
retrieval, not a general embedder.

**Shape.** {size} M parameters in bf16: {shape.layers} layers, width {shape.hidden}, {shape.heads} query and
{shape.kv_heads} key-value heads of {shape.head_dim}, feed-forward {shape.intermediate}, causal attention,
tied embeddings, context {shape.context}. The tokenizer is the bundled chat model's ({shape.vocab} tokens).

**Data.** English text generated from seeds by `penstock/zoo/data/meanings.py`: two phrasings of one request
with typing noise (paraphrase), questions about terms and facts with their answers (definition), questions
about an invented encyclopaedia, another for every draw, with the passages that answer them (chunk). A hash
of the meaning keeps train and test apart: no phrasing of a meaning that is asked below was seen.

**Training.** `{made.command}`: from scratch, InfoNCE in both directions with the other pairs of a batch as
negatives, temperature {made.temperature:g}, AdamW, peak learning rate {made.rate:g} with a cosine,
{len(made.losses)} steps, {made.pairs} pairs, seed {made.seed}; loss {first:.2f} at first, {last:.2f} at
last. {made.minutes:.1f} minutes of processor time: {made.hardware}.

**Evaluation.** Each held-out query searches its text among {among} of different meanings; 95 % intervals
(Wilson). For definitions, of which there are fewer, texts of the training split fill up. TF-IDF compares
bags of words; the random weights are those that training began with.

| encoder | pairs | found first | among the first five | queries |
| --- | --- | --- | --- | --- |
{table}

**Limits.** It knows the generators' words and templates; other text it compares by shared pieces of words,
if at all. Texts much longer than a passage (some hundred tokens) were never seen. Numbers are only bags of
digits.

**Licence.** Apache-2.0, weights and data.
"""


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * value:.1f} % ({100 * low:.0f} to {100 * high:.0f})"
