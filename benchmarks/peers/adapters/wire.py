"""The adapter's side of the protocol: one JSON object per line, orders on stdin, answers on stdout.

    {"op": "prepare", "model": FOLDER, "into": FOLDER, "precision": P} -> {"prepared": FOLDER}
    {"op": "load", "model": FOLDER, "settings": {}} -> {"ready": SECONDS, "versions": {}, "details": {}}
    {"op": "run", "workload": FILE} -> {"requests": [], "seconds": SECONDS}
    {"op": "quit"} -> {"bye": true}

A request's answer is ``{"sent", "tokens", "times"}``: seconds since the workload began; ``times`` has an
entry per output token, or only the end where the engine tells no more. A failure is ``{"error": TEXT}``.
Only the standard library is used: this runs in the environments of other engines, which may print what they
like, as their stdout is turned to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Protocol


@dataclass
class Done:
    """What became of a request; times are of ``time.perf_counter``."""

    tokens: int = 0
    times: list[float] = field(default_factory=list)
    """One per output token, or the end alone."""

    def saw(self, total: int, now: float) -> None:
        """Note that ``total`` tokens are there by now."""
        self.times += [now] * (total - self.tokens)
        self.tokens = total


class Engine(Protocol):
    """What an adapter makes of its engine."""

    details: dict[str, Any]
    """Choices worth reporting: instruction set, cache type..."""

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """Run requests (``prompt`` ids, ``output`` length) sent all at once; greedy, never ending early."""
        ...


def serve(
    load: Callable[[str, dict[str, Any]], Engine],
    packages: Sequence[str],
    prepare: Callable[[str, str, str], None] | None = None,
) -> None:
    """Answer orders until told to quit.

    Args:
        load: makes the engine of a model folder and settings.
        packages: whose versions are reported.
        prepare: converts a model folder into another, for a precision; None takes folders as they are.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    engine: Engine | None = None
    for line in sys.stdin:
        order = json.loads(line)
        try:
            if order["op"] == "quit":
                answer: dict[str, Any] = {"bye": True}
            elif order["op"] == "prepare":
                answer = {"prepared": _prepare(order, prepare)}
            elif order["op"] == "load":
                begun = time.perf_counter()
                engine = load(order["model"], order["settings"])
                seconds = time.perf_counter() - begun
                answer = {"ready": seconds, "versions": _versions(packages), "details": engine.details}
            else:
                assert engine is not None, "a model is loaded before workloads are run"
                with open(order["workload"], encoding="utf-8") as file:
                    answer = _run(engine, json.load(file))
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if order["op"] == "quit":
            # Engines' threads and children may hold up an orderly exit; nothing is left to be written.
            os._exit(0)


def _prepare(order: dict[str, Any], prepare: Callable[[str, str, str], None] | None) -> str:
    if prepare is None:
        return str(order["model"])
    prepare(order["model"], order["into"], order["precision"])
    return str(order["into"])


def _run(engine: Engine, workload: dict[str, Any]) -> dict[str, Any]:
    requests = workload["requests"]
    answers: list[dict[str, Any]] = [{} for _ in requests]
    begun = time.perf_counter()
    for wave in workload["waves"]:
        sent = time.perf_counter()
        results = engine.run([requests[index] for index in wave])
        for index, done in zip(wave, results, strict=True):
            times = [moment - begun for moment in done.times]
            answers[index] = {"sent": sent - begun, "tokens": done.tokens, "times": times}
    return {"requests": answers, "seconds": time.perf_counter() - begun}


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
