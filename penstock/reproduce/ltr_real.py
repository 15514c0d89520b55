"""Learning to rank for real: a ranker trained on what the bundled model answered, and what it is worth.

``ltr-train`` and ``ltr-real`` take one to two minutes a seed on two idle cores; a quarter of that when quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from penstock.bench.lengths import predictable
from penstock.config.settings import CacheConfig, Config, ScheduleConfig
from penstock.core.executor import Executor
from penstock.core.request import RequestSpec
from penstock.engine.core import build_engine
from penstock.frontend.intake import Intake
from penstock.frontend.model import load_tokenizer
from penstock.frontend.prompts import Chat
from penstock.frontend.specs import ModelLimits, SeedSource
from penstock.predict.model import RankerConfig
from penstock.predict.ranker import LengthRanker
from penstock.predict.traffic import Sample
from penstock.predict.train import Training, evaluate, train
from penstock.reproduce.base import Bar, experiment

LONGEST = 256
"""Tokens that an answer may have."""
SLOTS = 8
"""Sequences at once while orders are compared, so that a queue of some hundred is long."""


class _Done(NamedTuple):
    tokens: int
    latency: float
    """Seconds from arrival to the last token."""


class _Bench:
    """The bundled model, and an engine around it for each run."""

    def __init__(self) -> None:
        from penstock.executors.inline import build_executor

        built = build_executor(Config())
        assert built.config is not None
        self._executor: Executor = built
        self._schedule: ScheduleConfig = built.config.schedule
        self._cache: CacheConfig = built.config.cache
        spec, tokenizer = built.spec(), load_tokenizer(Config())
        self.vocab_size = spec.vocab_size
        eos = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
        limits = ModelLimits(vocab_size=spec.vocab_size, max_model_len=spec.max_model_len, eos_ids=eos)
        self._intake = Intake(tokenizer, limits, SeedSource(0))

    def specs(self, conversations: Sequence[Sequence[dict[str, str]]]) -> list[RequestSpec]:
        """Return greedy requests for conversations."""
        params = {"temperature": 0.0, "max_tokens": LONGEST}
        return [
            self._intake.admit(self._intake.prepare(Chat(messages=talk), params), f"r{number}")[0][0]
            for number, talk in enumerate(conversations)
        ]

    def run(self, specs: Sequence[RequestSpec], order: str, slots: int) -> list[_Done]:
        """Submit everything at once and return what came of each request, in their order."""
        schedule = msgspec.structs.replace(self._schedule, order=order, max_num_seqs=slots, admit="unlimited")
        engine = build_engine(self._executor, schedule, self._cache)
        began = engine.clock.now()
        for spec in specs:
            engine.submit(spec)
        tokens: dict[str, int] = dict.fromkeys((spec.id for spec in specs), 0)
        ended: dict[str, float] = {}
        while engine.has_work():
            for out in engine.tick():
                tokens[out.request_id] += len(out.tokens)
                if out.finish is not None:
                    ended[out.request_id] = engine.clock.now() - began
        return [_Done(tokens[spec.id], ended[spec.id]) for spec in specs]

    def samples(self, count: int, seed: int, split: str) -> list[Sample]:
        """Have the model answer, and return prompts and answer lengths."""
        specs = self.specs(predictable(count, seed, "test" if split == "test" else "train"))
        done = self.run(specs, "fcfs", 64)
        return [Sample(spec.prompt_ids, one.tokens) for spec, one in zip(specs, done, strict=True)]

    def ranker(self, count: int, seed: int) -> tuple[LengthRanker, float]:
        """Train on answers; return the ranker and its tau on the samples that chose its epoch."""
        config = RankerConfig(vocab_size=self.vocab_size)
        model, best = train(self.samples(count, 1000 + seed, "train"), config, Training(seed=seed))
        return LengthRanker(model), best.tau


@experiment(
    "ltr-train",
    row="3",
    system="ltr",
    kind="real",
    title="A ranker trained on the bundled model's answers, on questions it has not seen",
    bars=(Bar("tau", floor=0.5, paper="0.52 to 0.64 (OPT-125M ranker, chat prompts)"),),
)
def trained(seed: int, quick: bool) -> dict[str, float]:
    """Train by ListMLE on questions of the zoo's training split; measure on its test split."""
    bench = _Bench()
    ranker, validation = bench.ranker(300 if quick else 1200, seed)
    unseen = bench.samples(60 if quick else 300, 2000 + seed, "test")
    tau = evaluate(ranker.model, unseen)
    ranker.score([sample.prompt_ids for sample in unseen])
    return {
        "tau": tau,
        "validation_tau": validation,
        "scoring_ms_per_prompt": 1e3 * ranker.seconds / ranker.scored,
    }


@experiment(
    "ltr-real",
    row="3",
    system="ltr",
    kind="real",
    title="A full queue of questions whose answer length can be foretold, on the real engine",
    bars=(
        Bar("fcfs_over_ltr", floor=1.5, paper="up to 2.8x lower latency per token (abstract)"),
        Bar("fcfs_over_oracle", floor=1.5, paper="the oracle is the bound"),
    ),
)
def real(seed: int, quick: bool) -> dict[str, float]:
    """Compare mean normalised latency under fcfs, learned ranks and true lengths, interleaved twice."""
    bench = _Bench()
    ranker, _ = bench.ranker(200 if quick else 700, seed)
    specs = bench.specs(predictable(40 if quick else 160, 3000 + seed, "test"))
    truth = [float(one.tokens) for one in bench.run(specs, "fcfs", 64)]
    guesses = ranker.score([spec.prompt_ids for spec in specs])
    arms = {
        "fcfs": (specs, "fcfs"),
        "ltr": (_scored(specs, guesses), "ltr(200, 10)"),
        "oracle": (_scored(specs, truth), "sjf"),
    }
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(2):
        for name, (asked, order) in arms.items():
            done = bench.run(asked, order, SLOTS)
            found[name].append(sum(one.latency / one.tokens for one in done) / len(done))
    pairs = {name: [a / b for a, b in zip(found["fcfs"], found[name], strict=True)] for name in arms}
    return {
        "fcfs_over_ltr": sum(pairs["ltr"]) / 2,
        "fcfs_over_oracle": sum(pairs["oracle"]) / 2,
        "spread_of_ltr": abs(pairs["ltr"][0] - pairs["ltr"][1]),
        "fcfs_ms_per_token": 1e3 * sum(found["fcfs"]) / 2,
    }


def _scored(specs: Sequence[RequestSpec], scores: Sequence[float]) -> list[RequestSpec]:
    return [
        msgspec.structs.replace(spec, length_score=score) for spec, score in zip(specs, scores, strict=True)
    ]
