"""`read_requests`: recorded requests by schema and path, ``azure:/data/conv.csv``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import Arrivals
from penstock.workload.readers.jsonl import jsonl, vllm_run
from penstock.workload.readers.lines import FIELD, ReadReport, Source, in_order
from penstock.workload.readers.sharegpt import sharegpt
from penstock.workload.readers.tables import azure, burstgpt, lengths
from penstock.workload.request import TraceRequest

Reader = Callable[[Source], Iterator[TraceRequest]]
READERS: dict[str, Reader] = {
    "azure": azure,
    "burstgpt": burstgpt,
    "jsonl": jsonl,
    "vllm": vllm_run,
    "sharegpt": sharegpt,
    "lengths": lengths,
}
UNTIMED = ("sharegpt", "lengths")
"""Schemas without arrival times."""


def split(spec: str, field: str = FIELD) -> tuple[str, Path]:
    """Return schema and path of ``schema:path``; without a schema, ``.jsonl`` is our own and ``.csv``
    Azure's.

    Raises:
        ConfigError: no such schema.
    """
    schema, colon, path = spec.partition(":")
    if colon and schema in READERS:
        return schema, Path(path)
    guessed = {".jsonl": "jsonl", ".csv": "azure"}.get(Path(spec).suffix)
    if guessed is None or (colon and not Path(spec).exists()):
        raise ConfigError(
            field,
            f"expected a .csv or .jsonl trace, or SCHEMA:PATH with one of {', '.join(READERS)}; got {spec!r}",
        )
    return guessed, Path(spec)


def read_requests(
    spec: str,
    *,
    limit: int = 0,
    speed: float = 1.0,
    arrivals: Arrivals | None = None,
    seed: int = 0,
    report: ReadReport | None = None,
    field: str = FIELD,
) -> Iterator[TraceRequest]:
    """Yield recorded requests in order of arrival, reading as they are drawn.

    Args:
        spec: ``schema:path``, see `split`.
        limit: requests wanted; 0 takes all.
        speed: how much faster than recorded.
        arrivals: replaces the recorded times; schemas without times need it unless all are to arrive at 0.
        seed: of the arrivals.
        report: receives counts of what was read and dropped.
        field: flag to name in errors.

    Raises:
        ConfigError: no such file or schema, or a line that cannot be read (it is numbered).
    """
    schema, path = split(spec, field)
    if not speed > 0:
        raise ConfigError(field, f"expected a speed above 0, got {speed:g}")
    source = Source(path, report, field)
    source.open().close()
    requests = READERS[schema](source)
    if arrivals is not None:
        times = arrivals.times(np.random.default_rng(seed))
        requests = (msgspec.structs.replace(r, arrival=t) for r, t in zip(requests, times, strict=False))
    elif schema not in UNTIMED:
        requests = in_order(source, requests)
    return _limited(source, requests, limit, speed)


def _limited(
    source: Source, requests: Iterator[TraceRequest], limit: int, speed: float
) -> Iterator[TraceRequest]:
    for request in requests:
        source.report.read += 1
        yield request if speed == 1.0 else msgspec.structs.replace(request, arrival=request.arrival / speed)
        if source.report.read == limit:
            return
    if not source.report.read:
        raise ConfigError(source.field, f"{source.path} holds no requests")
