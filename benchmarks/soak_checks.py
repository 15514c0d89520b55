"""What `benchmarks/soak.py` holds a run to: clients' books against the engine's, memory, limits, latency."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from soak_client import Seen

from penstock.workload.metrics.records import percentile

HEALTH_SECONDS = 0.1
SERVED_AGAIN_SECONDS = 10.0
TIMING = "timing:"
"""Begins failures that a crowded machine may be to blame for."""
GROWTH = 0.05
STEP = 0.25
"""Seconds that a step of the engine, and the way to it, may take."""
LONG_RUN = 300.0
"""Seconds from which memory is judged; before, it is still being warmed up."""


class Books:
    """What the engines wrote: who was taken in and how each ended, per engine process."""

    def __init__(self, folder: Path) -> None:
        self.taken: dict[str, dict[str, Any]] = {}
        self.ends: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.lives: list[list[dict[str, Any]]] = []
        for path in folder.glob("engine-*.jsonl"):
            entries = [
                json.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"
            ]
            self.lives.append(entries)
            for entry in entries:
                if "took" in entry:
                    self.taken[entry["took"]] = entry
                else:
                    self.ends[entry["ended"]].append(entry)
        # By time: numbers of processes tell nothing, least of all when they gain a digit.
        self.lives.sort(key=lambda entries: entries[0]["at"] if entries else math.inf)


def judge(
    seen: Sequence[Seen],
    folder: Path,
    marks: dict[str, Any],
    memory: Sequence[tuple[float, str, int, int]],
    faults: Sequence[dict[str, Any]],
    health: Sequence[tuple[float, float, int]],
    load: dict[str, Any],
    status: int,
) -> dict[str, Any]:
    """Return the figures, the series and the failures of a run."""
    books = Books(folder)
    p99 = percentile(sorted(seconds for _, seconds, _ in health), 99)
    growth = dict(_growth(memory, marks))
    again = dict(_served_again(faults, books, marks["watchdog"]))
    failures = [
        *_clients(seen),
        *_against(seen, books),
        *_limits(seen, books, marks),
        *([f"blocks or sequences are left: {load}"] if _left(load) else []),
        *([f"{TIMING} p99 of /health is {1e3 * p99:.0f} ms"] if p99 > HEALTH_SECONDS else []),
        *([f"the server ended with status {status}"] if status else []),
        *(
            f"{TIMING} after {what} it took {seconds:.1f} s to serve again"
            for what, seconds in again.items()
            if seconds > SERVED_AGAIN_SECONDS
        ),
    ]
    if marks["ended"] - marks["began"] >= LONG_RUN:
        failures += [f"{who} grew by {part:.1%}" for who, part in growth.items() if part > GROWTH]
    kinds = Counter(f"{one.status}" if one.manner == "whole" else one.manner for one in seen)
    summary = {
        "requests": len(seen),
        "by_outcome": dict(kinds),
        "taken_in_by_the_engine": len(books.taken),
        "ends_by_reason": dict(Counter(end["reason"] for ends in books.ends.values() for end in ends)),
        "engine_processes": len(books.lives),
        "health_p50_ms": 1e3 * percentile(sorted(seconds for _, seconds, _ in health), 50),
        "health_p99_ms": 1e3 * p99,
        "health_max_ms": 1e3 * max(seconds for _, seconds, _ in health),
        "memory_growth": growth,
        "seconds_to_serve_again": again,
        "after_the_load": load,
    }
    series = {"memory": _thinned(memory), "faults": list(faults), "health": _thinned(health)}
    return {"summary": summary, "failures": failures, **series}


def _thinned(points: Sequence[Any], most: int = 600) -> list[Any]:
    """Keep about so many points of a series, evenly: the figures were taken from all of them."""
    return list(points[:: max(1, len(points) // most)])


def _clients(seen: Sequence[Seen]) -> Iterator[str]:
    """One end for everybody who waited."""
    for one in seen:
        if not one.ended:
            yield f"{one.id} was still open at the end"
        elif verdict := one.verdict():
            yield f"{one.id} ({one.tenant}, {one.manner}): {verdict}"


def _against(seen: Sequence[Seen], books: Books) -> Iterator[str]:
    """The end that a client saw is the one that the engine wrote."""
    by_id = {f"cmpl-{one.id} 0": one for one in seen}
    for request_id, ends in books.ends.items():
        if len(ends) != 1:
            yield f"the engine ended {request_id} {len(ends)} times"
    last = {entry.get("took") for entry in books.lives[-1]} if books.lives else set()
    for request_id in books.taken:
        one = by_id.get(request_id)
        if one is None:
            yield f"the engine took in {request_id}, which nobody sent"
            continue
        ends = books.ends.get(request_id)
        if not ends:
            # Its process died with it; but the process that was there last did not die.
            if request_id in last:
                yield f"{request_id} was taken in and never ended"
            elif one.finishes:
                yield f"{request_id} was finished for its client by an engine that died with it"
        elif one.finishes and one.finishes[0] != ends[0]["reason"]:
            yield f"{request_id}: its client saw {one.finishes[0]}, the engine wrote {ends[0]['reason']}"
        elif one.errors and ends[0]["reason"] == "length" and not _overtaken(one):
            yield f"{request_id}: finished by the engine, but its client saw {one.error_text}"
    for request_id, one in by_id.items():
        if one.finishes and request_id not in books.taken:
            yield f"{request_id} was answered and never taken in"


def _overtaken(one: Seen) -> bool:
    """Whether a client may see an error although the engine finished: its own /abort, or the engine's death,
    came between writing the end and sending it."""
    return one.manner == "abort" or "engine" in one.error_text


def _limits(seen: Sequence[Seen], books: Books, marks: dict[str, Any]) -> Iterator[str]:
    """Nobody had more admitted in a minute, or at work at once, than allowed.

    The server counts a request at some moment between its client's sending and the engine's taking in, and
    for as long as the client waits. What is judged is what was the case whichever moments those were.
    """
    by_id = {f"cmpl-{one.id} 0": one for one in seen}
    within = _most_within(
        (by_id[name].sent, entry["at"])
        for name, entry in books.taken.items()
        if entry["tenant"] == "gamma" and name in by_id and by_id[name].sent >= marks["began"]
    )
    if within > marks["per_minute"]:
        yield f"gamma had {within} requests admitted within a minute; {marks['per_minute']} are allowed"
    for entries in books.lives:
        most = _most_at_once(_spans(entries, by_id, "beta"))
        if most > marks["concurrent"]:
            yield f"beta had {most} requests at work at once; {marks['concurrent']} are allowed"
    if marks["ended"] - marks["began"] >= 60:
        refused = Counter(one.tenant for one in seen if one.status == 429)
        if not refused["beta"] or not refused["gamma"]:
            yield f"no tenant reached its limit, so nothing was tested: {dict(refused)}"


def _most_within(spans: Iterable[tuple[float, float]], seconds: float = 60.0) -> int:
    """Return the largest number of spans that lie wholly within so many seconds."""
    found, most = sorted(spans), 0
    for index, (start, _) in enumerate(found):
        near = itertools.takewhile(lambda span, end=start + seconds: span[0] < end, found[index:])
        most = max(most, sum(end < start + seconds for _, end in near))
    return most


def _spans(
    entries: Sequence[dict[str, Any]], by_id: dict[str, Seen], tenant: str
) -> Iterator[tuple[float, float]]:
    """Yield from when to when an engine surely had each request at work for a client that waited."""
    began = {entry["took"]: entry["at"] for entry in entries if entry.get("tenant") == tenant}
    for entry in entries:
        name = entry.get("ended", "")
        if name in began:
            one, end = by_id.get(name), entry["at"]
            if one is not None and one.manner != "whole":
                # The server lets go of it when its client does; the engine writes that down a step later.
                end = min(end, one.ended) - STEP
            yield began[name], end


def _most_at_once(spans: Iterable[tuple[float, float]]) -> int:
    live = most = 0
    edges = [edge for start, end in spans if end > start for edge in ((start, 1), (end, -1))]
    for _, change in sorted(edges):
        live += change
        most = max(most, live)
    return most


def _left(load: dict[str, Any]) -> bool:
    return bool(load.get("running", 1) or load.get("waiting", 1) or load.get("kv_cache_usage", 1.0) > 1e-9)


def _served_again(
    faults: Sequence[dict[str, Any]], books: Books, watchdog: float
) -> Iterator[tuple[str, float]]:
    """Yield each death, and the seconds until the next engine finished a request."""
    for fault in faults:
        if fault["what"] == "raise":
            continue
        dead = fault["at"] + (1.25 * watchdog if fault["what"] == "hang" else 0.0)
        ends = [
            entry["at"]
            for life in books.lives
            if life and life[0]["at"] > fault["at"]
            for entry in life
            if entry.get("reason") == "length"
        ]
        yield fault["what"], min(ends, default=float("1e9")) - dead


def _growth(
    memory: Sequence[tuple[float, str, int, int]], marks: dict[str, Any]
) -> Iterator[tuple[str, float]]:
    """Yield how much each process grew, from the second to the last quarter of its life."""
    by_process: dict[tuple[str, int], list[int]] = defaultdict(list)
    for _, name, pid, rss in memory:
        by_process[name, pid].append(rss)
    for (name, pid), values in by_process.items():
        if len(values) < 12:
            continue
        quarter = len(values) // 4
        early, late = median(values[quarter : 2 * quarter]), median(values[-quarter:])
        yield f"{name} {pid}", late / early - 1
