"""The model card of a ranker, written by its recipe from what it measured."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.predict.evaluation import RankerScore
from penstock.predict.model import RankerConfig
from penstock.predict.train import Epoch, Training


@dataclass(frozen=True, slots=True)
class Made:
    """How a ranker was made.

    Attributes:
        command: that makes it again.
        requests: with reference answers that it saw.
        recorded: recorded answers that it saw besides.
        minutes: processor time.
        hardware: what it ran on.
    """

    command: str
    requests: int
    recorded: int
    minutes: float
    hardware: str


def card(
    made: Made,
    config: RankerConfig,
    training: Training,
    parameters: int,
    epochs: list[Epoch],
    score: RankerScore,
) -> str:
    """Return the card in Markdown."""
    within = "\n".join(f"| {name} | {tau:.2f} |" for name, tau in score.within.items())
    best = max(epochs, key=lambda epoch: epoch.tau)
    more = f" and {made.recorded} recorded answers" if made.recorded else ""
    skills, size = ", ".join(score.within), f"{parameters / 1e6:.2f}"
    return f"""---
license: apache-2.0
language: en
---
# ranker
Tells from a prompt alone whose answer will be longer, for requests to the bundled chat model: what the
order `ltr` sorts a queue by. `penstock serve --ranker bundled --order "priority > ltr"` takes it. Only the
order of scores means much; read as tokens they are rough.

**Shape.** {size} M parameters in fp32: sums of embeddings of tokens ({config.vocab_size}) and of
neighbouring pairs of tokens ({config.pairs} buckets), width {config.width}, and a perceptron of
{config.hidden}. It reads the last {config.longest} tokens of a prompt. `config.json` and
`model.safetensors` are Penstock's own form, not one of transformers.

**Data.** {made.requests} requests of `penstock/zoo/data` with typing noise, and the lengths of their
reference answers{more}: {skills}. A hash of each question's key keeps train and test apart.

**Training.** `{made.command}`: ListMLE over lists of {training.batch} requests, AdamW, peak learning rate
{training.rate:g}, one cycle, {len(epochs)} epochs; epoch {best.number} did best on a tenth of the training
questions and is what ships. Seed {training.seed}. {made.minutes:.1f} minutes of processor time, data
included: {made.hardware}.

**Evaluation.** Kendall's tau-b on {score.requests} held-out requests: **{score.tau:.3f}** (95 % interval by
the jackknife {score.low:.3f} to {score.high:.3f}; aim 0.6); ranking by prompt length gives
{score.by_prompt_length:.3f}. The truth is the reference answer's length: a chat model that answers
otherwise is ranked worse (`penstock rank collect` and `penstock rank eval bundled` measure it). Scoring
took {score.milliseconds:.2f} ms a prompt there. Within a skill, where telling skills apart does not help:

| skill | tau |
| --- | --- |
{within}

**Limits.** It knows the generators' requests in English and the bundled tokenizer; of other prompts it says
little. It does no sums: how far a count runs "from 17 to 43" it only guesses. For another model train one
on its own traffic: `penstock rank train`.

**Licence.** Apache-2.0, weights and data.
"""
