"""The figures of one run of a workload, and what several runs come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

METRICS = ("total_tps", "output_tps", "ttft", "itl", "decode_tps", "seconds", "start", "memory")
"""Of a run: tokens per second (all, output), seconds (median TTFT, median gap between tokens), output
tokens per second after the first one (single stream only), seconds in all, seconds from process start to
ready, peak bytes."""


class WrongAnswer(Exception):
    """An engine did not do what the workload asks for."""


def check(workload: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a run whose outputs have not exactly the asked lengths, or whose times make no sense.

    Raises:
        WrongAnswer: names the request.
    """
    if len(answers) != len(workload["requests"]):
        raise WrongAnswer(f"{len(answers)} answers to {len(workload['requests'])} requests")
    for index, (request, answer) in enumerate(zip(workload["requests"], answers, strict=True)):
        if answer["tokens"] != request["output"]:
            raise WrongAnswer(
                f"request {index}: {answer['tokens']} tokens, {request['output']} were asked for"
            )
        times = answer["times"]
        if len(times) not in (1, answer["tokens"]):
            raise WrongAnswer(f"request {index}: {len(times)} times for {answer['tokens']} tokens")
        if list(times) != sorted(times) or times[0] < answer["sent"]:
            raise WrongAnswer(f"request {index}: times that run backwards")


def run_figures(
    workload: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, float | None]:
    """Return throughput and latencies of a checked run; None where the engine tells too little."""
    prompts = sum(len(request["prompt"]) for request in workload["requests"])
    outputs = sum(request["output"] for request in workload["requests"])
    seen = [one for one in answers if len(one["times"]) == one["tokens"]]
    ttfts = [one["times"][0] - one["sent"] for one in seen]
    gaps = [(one["times"][-1] - one["times"][0]) / (one["tokens"] - 1) for one in seen if one["tokens"] > 1]
    whole = len(seen) == len(answers)
    itl = statistics.median(gaps) if whole and gaps else None
    single = len(answers) == 1 and itl
    return {
        "total_tps": (prompts + outputs) / seconds,
        "output_tps": outputs / seconds,
        "ttft": statistics.median(ttfts) if whole else None,
        "itl": itl,
        "decode_tps": 1 / itl if single and itl else None,
        "seconds": seconds,
    }


@dataclass(frozen=True)
class Spread:
    """Median and range of a figure over rounds."""

    median: float
    low: float
    high: float
    count: int

    def as_dict(self) -> dict[str, float]:
        """Return it for a result file."""
        return {"median": self.median, "min": self.low, "max": self.high, "n": self.count}


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return the spread of what was measured; None if nothing was."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(statistics.median(known), min(known), max(known), len(known))


Summary = dict[str, dict[str, dict[str, Spread]]]
"""Workload, label of the engine, metric."""


def summarise(runs: Iterable[Mapping[str, Any]]) -> Summary:
    """Put runs (``workload``, ``engine``, ``figures``; failed ones have none) together."""
    found: dict[str, dict[str, list[Mapping[str, float | None]]]] = {}
    for run in runs:
        if run.get("figures"):
            found.setdefault(run["workload"], {}).setdefault(run["engine"], []).append(run["figures"])
    summary: Summary = {}
    for workload, engines in found.items():
        for engine, figures in engines.items():
            spreads = {name: spread(one.get(name) for one in figures) for name in METRICS}
            kept = {name: value for name, value in spreads.items() if value is not None}
            summary.setdefault(workload, {})[engine] = kept
    return summary
