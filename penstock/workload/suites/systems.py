"""The workloads of single papers: Sarathi-Serve, Llumnix, FastGen, BatchLLM, learning to rank, reasoning,
text-to-SQL."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import Gamma, check_positive
from penstock.workload.driver import Driver, OpenLoop, Served, World
from penstock.workload.drivers.closed import ClosedLoop
from penstock.workload.generate import Client, mix, requests, streams
from penstock.workload.lengths import LLUMNIX_EXPONENTS, parse_lengths
from penstock.workload.registry import workload
from penstock.workload.request import Span, TraceRequest
from penstock.workload.suites.basic import OPEN, open_loop
from penstock.workload.suites.common import pairs

_REST = {key: value for key, value in OPEN.items() if key not in ("prompt", "output", "longest")}


@workload("sharegpt", **_REST)
def sharegpt(seed: int, *, rate: float = 1.0, cv: float = 1.0, **values: Any) -> Driver:
    """Sarathi-Serve: chats of ShareGPT (8k): prompts 2340 on average, answers 439; lengths=CSV takes the
    real rows.

    Without the table, lognormals with its means and medians (1730, 415) stand in.
    """
    check_positive(rate=rate)
    lengths = {"prompt": "lognormal:2340:0.777", "output": "lognormal:439:0.335", "longest": 8192}
    return open_loop(Gamma(rate, cv), seed, values | lengths)


@workload("arxiv", **_REST)
def arxiv(seed: int, *, rate: float = 0.5, cv: float = 1.0, **values: Any) -> Driver:
    """Sarathi-Serve: summaries of arXiv papers: long prompts, short answers; lengths=CSV takes the real rows.

    Without the table, lognormals around medians of 7059 and 208 tokens stand in (recalled figures).
    """
    check_positive(rate=rate)
    lengths = {"prompt": "lognormal:8000:0.5", "output": "lognormal:230:0.45", "longest": 16384}
    return open_loop(Gamma(rate, cv), seed, values | lengths)


@workload("llumnix", **_REST)
def llumnix(
    seed: int, *, rate: float = 7.5, cv: float = 1.0, mean: int = 256, output_mean: int = 0, **values: Any
) -> Driver:
    """Llumnix: power-law lengths of mean 128, 256, 512 or 1024 in and out, Poisson (cv=1) or Gamma
    arrivals."""
    check_positive(rate=rate)
    for each in (mean, output_mean or mean):
        if each not in LLUMNIX_EXPONENTS:
            raise ConfigError(
                "workload.mean", f"expected one of {', '.join(map(str, LLUMNIX_EXPONENTS))}, got {each}"
            )
    lengths = {"prompt": f"zipf:{mean}", "output": f"zipf:{output_mean or mean}"}
    return open_loop(Gamma(rate, cv), seed, values | lengths)


@workload("fastgen")
def fastgen(
    seed: int, *, clients: int = 16, count: int = 512, prompt: int = 2600, output: int = 60
) -> Driver:
    """FastGen: closed-loop clients, 512 requests, normal lengths with 30 % deviation (1200 or 2600 in, 128
    or 60 out)."""
    check_positive(clients=clients, count=count, prompt=prompt, output=output)
    lengths = pairs(f"normal:{prompt}:{0.3 * prompt}", f"normal:{output}:{0.3 * output}")
    source = requests(
        Client(arrivals=Gamma(math.inf), pairs=lengths, count=count), np.random.SeedSequence(seed), streams()
    )
    return ClosedLoop(source, clients)


@workload("batch-prefix")
def batch_prefix(
    seed: int,
    *,
    groups: int = 400,
    each: int = 16,
    shared: int = 2000,
    own: int = 200,
    output: str = "lognormal:100:0.6",
    shuffle: bool = True,
) -> Driver:
    """BatchLLM: an offline job of 400 groups of 16 prompts, 2000 shared and 200 own tokens, shuffled.

    The answers' lengths are ours.
    """
    check_positive(groups=groups, each=each, shared=shared, own=own)
    order_seed, lengths_seed = np.random.SeedSequence(seed).spawn(2)
    order = np.arange(groups * each)
    if shuffle:
        np.random.default_rng(order_seed).shuffle(order)
    lengths = parse_lengths(output, "workload.output").sample(np.random.default_rng(lengths_seed), len(order))

    def source() -> Iterator[TraceRequest]:
        for number in order.tolist():
            group = number // each
            yield TraceRequest(
                id=f"g{group}.{number % each}",
                arrival=0.0,
                prompt=(Span(1 + group, shared), Span(1 + groups + number, own)),
                output_tokens=lengths[number],
                group=f"g{group}",
                group_tokens=shared,
            )

    return OpenLoop(source())


class FirstDone(OpenLoop):
    """An open loop that notes when its first ``goal`` requests were done (vllm-ltr's synthetic data
    generation)."""

    def __init__(self, source: Iterator[TraceRequest], goal: int) -> None:
        super().__init__(source)
        self.goal = goal
        self.done = 0
        self.reached = math.nan
        """Seconds at which the goal was reached."""

    def served(self, result: Served, world: World) -> None:
        """Count it."""
        self.done += result.ok
        if result.ok and self.done == self.goal:
            self.reached = result.finished


@workload("ltr-synthetic")
def ltr_synthetic(
    seed: int,
    *,
    count: int = 10000,
    goal: int = 1000,
    tau: float = 0.55,
    prompt: str = "lognormal:64:0.5",
    output: str = "lognormal:300:1.0",
) -> Driver:
    """vllm-ltr: 10000 prompts at once, of which the first 1000 done count; predictions of rank correlation
    tau.

    The driver's ``reached`` is when they were done. Lengths are ours.
    """
    check_positive(count=count, goal=goal)
    lengths = pairs(prompt, output, longest=8192)
    client = Client(arrivals=Gamma(math.inf), pairs=lengths, count=count, tau=tau)
    return FirstDone(mix([client], seed), goal)


@workload("ltr-chat", **{key: value for key, value in _REST.items() if key != "tau"})
def ltr_chat(seed: int, *, rate: float = 4.0, cv: float = 1.0, tau: float = 0.55, **values: Any) -> Driver:
    """vllm-ltr: chats with predicted lengths of rank correlation tau (1 is an oracle); lengths are ours."""
    check_positive(rate=rate)
    lengths = {"prompt": "lognormal:200:1.0", "output": "lognormal:300:1.0", "longest": 4096}
    return open_loop(Gamma(rate, cv), seed, values | lengths | {"tau": tau})


@dataclass(frozen=True, slots=True)
class Difficulties:
    """Answers that are lognormal around means by difficulty, cut at a budget."""

    prompt: str
    means: tuple[float, ...]
    shares: tuple[float, ...]
    """Of the questions, by difficulty; they need not add up to 1."""
    sigma: float
    budget: int

    def draws(self, seed: np.random.SeedSequence) -> Iterator[tuple[int, int]]:
        """See `penstock.workload.lengths.Pairs`."""
        inputs, outputs = (np.random.default_rng(child) for child in seed.spawn(2))
        prompt = parse_lengths(self.prompt, "workload.prompt")
        shares = np.array(self.shares) / sum(self.shares)
        while True:
            means = np.array(self.means)[outputs.choice(len(shares), 1024, p=shares)]
            drawn = outputs.lognormal(np.log(means) - self.sigma**2 / 2, self.sigma)
            answers = np.clip(np.rint(drawn), 1, self.budget).astype(np.int64)
            yield from zip(prompt.sample(inputs, 1024), answers.tolist(), strict=True)


def questions(budget: int, plain: bool = False) -> Difficulties:
    """Return lengths of a reasoning model's answers, or a plain model's, to the questions of the RLLM study.

    The shares are the sizes of the study's sets: GSM8K (1319 questions, easy), MATH-500 (500), GPQA diamond
    and AIME-24 (228, hard). Means of 800, 2500 and 7000 tokens, and 300 for the plain model, are ours.
    """
    if plain:
        return Difficulties("lognormal:150:0.5", (300.0,), (1.0,), 0.4, budget)
    return Difficulties("lognormal:150:0.5", (800.0, 2500.0, 7000.0), (1319, 500, 228), 0.6, budget)


@workload("reasoning")
def reasoning(
    seed: int,
    *,
    rate: float = 0.5,
    cv: float = 2.0,
    count: int = 500,
    budget: int = 8192,
    think: float = 0.85,
    plain: bool = False,
) -> Driver:
    """RLLM study: answers of three difficulties up to a budget, most of each hidden thought; plain=true is
    no RLLM.

    Mean answers of 800, 2500 and 7000 tokens and the plain model's 300 are ours; the default budget is the
    study's.
    """
    check_positive(rate=rate, count=count, budget=budget)
    if not think < 1:
        raise ConfigError("workload.think", f"expected a share below 1, got {think:g}")
    client = Client(
        arrivals=Gamma(rate, cv),
        pairs=questions(budget, plain),
        count=count,
        thinking=None if plain or not think else (lambda output: int(output * think)),
    )
    return OpenLoop(mix([client], seed))


TEXT2SQL: dict[str, tuple[int, int]] = {
    "information": (308, 5),
    "keywords": (667, 45),
    "candidate": (11748, 678),
    "revise": (5963, 79),
    "unit-test": (275, 4),
    "generate-test": (1109, 103),
    "evaluate": (961, 22),
}
"""Mean prompt and answer tokens of the stages of Hexgen-Flow's workflow."""


@workload("text2sql-calls")
def text2sql(seed: int, *, rate: float = 1.0, cv: float = 1.0, count: int = 700, stages: str = "") -> Driver:
    """Hexgen-Flow: single calls with the stages' lengths, evenly mixed; tenants are the stages (slashes
    choose some)."""
    check_positive(rate=rate, count=count)
    names = stages.split("/") if stages else list(TEXT2SQL)
    unknown = [name for name in names if name not in TEXT2SQL]
    if unknown:
        raise ConfigError("workload.stages", f"expected some of {', '.join(TEXT2SQL)}, got {unknown[0]!r}")
    clients = [
        Client(
            tenant=name,
            arrivals=Gamma(rate / len(names), cv),
            pairs=pairs(f"lognormal:{TEXT2SQL[name][0]}:0.3", f"lognormal:{TEXT2SQL[name][1]}:0.3"),
        )
        for name in names
    ]
    return OpenLoop(itertools.islice(mix(clients, seed), count))
