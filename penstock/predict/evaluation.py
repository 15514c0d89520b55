"""How well a ranker orders requests that it has not seen: Kendall's tau with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from penstock.predict.ranker import BUNDLED, LengthRanker, ranker_folder
from penstock.predict.requests import reference_samples
from penstock.predict.tau import kendall_tau, tau_interval
from penstock.predict.traffic import Sample


@dataclass(frozen=True, slots=True)
class RankerScore:
    """What a ranker came to.

    Attributes:
        tau: Kendall's tau-b between scores and answer lengths.
        low: lower end of its 95 % interval.
        high: upper end of it.
        by_prompt_length: tau-b of the trivial ranker, for which longer prompts get longer answers.
        within: tau-b within each skill, where orders between skills do not help; empty for recorded traffic.
        requests: how many were ranked.
        milliseconds: time to score one prompt, on average.
    """

    tau: float
    low: float
    high: float
    by_prompt_length: float
    within: dict[str, float]
    requests: int
    milliseconds: float


def evaluate_ranker(folder: Path | None = None, requests: int = 1000, seed: int = 0) -> RankerScore:
    """Measure a ranker of the bundled model's tokens on reference answers to held-out requests.

    Args:
        folder: of the ranker; the shipped one by default.
        requests: how many.
        seed: another seed asks other questions.
    """
    skills, samples = reference_samples(requests, f"evaluate:{seed}", "test")
    return score_samples(LengthRanker.load(folder or ranker_folder(BUNDLED)), samples, skills)


def score_samples(ranker: LengthRanker, samples: Sequence[Sample], skills: Sequence[str] = ()) -> RankerScore:
    """Measure a ranker on samples, at least three; ``skills`` names the skill of each, if known."""
    scored, spent = ranker.scored, ranker.seconds
    scores = ranker.score([sample.prompt_ids for sample in samples])
    truth = [sample.output_tokens for sample in samples]
    tau, low, high = tau_interval(scores, truth)
    places = {name: [i for i, one in enumerate(skills) if one == name] for name in sorted(set(skills))}
    return RankerScore(
        tau=tau,
        low=low,
        high=high,
        by_prompt_length=kendall_tau([len(sample.prompt_ids) for sample in samples], truth),
        within={
            name: kendall_tau([scores[i] for i in found], [truth[i] for i in found])
            for name, found in places.items()
        },
        requests=len(samples),
        milliseconds=1e3 * (ranker.seconds - spent) / (ranker.scored - scored),
    )
