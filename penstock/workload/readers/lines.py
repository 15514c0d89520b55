"""What all readers share: numbered errors, counted losses, and small reorderings."""

from __future__ import annotations

import csv
import heapq
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec

from penstock.core.errors import ConfigError
from penstock.workload.request import Span, TraceRequest

FIELD = "trace"
REORDER = 16384
"""Requests that are held back to put them in order of arrival; recorders write in the order of endings."""


class ReadReport(msgspec.Struct):
    """What a reader left out; it grows while the requests are drawn."""

    read: int = 0
    """Requests handed out."""
    dropped: dict[str, int] = {}
    """Rows left out, by reason."""

    def drop(self, reason: str) -> None:
        """Count a row that was left out."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1


class Source:
    """One file being read.

    Args:
        path: where it lies.
        report: receives counts.
        field: flag to name in errors.
    """

    def __init__(self, path: Path, report: ReadReport | None = None, field: str = FIELD) -> None:
        self.path, self.field = path, field
        self.report = report if report is not None else ReadReport()
        self._next = 0

    def open(self) -> IO[str]:
        """Open it as text.

        Raises:
            ConfigError: it cannot be read.
        """
        try:
            return self.path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise ConfigError(self.field, f"cannot read {self.path}: {error.strerror}") from None

    def wrong(self, line: int, why: object) -> ConfigError:
        """Return the error of a line."""
        return ConfigError(self.field, f"{self.path} line {line}: {why}")

    def request(self, arrival: float, prompt: int, output: int, **rest: Any) -> TraceRequest | None:
        """Return a request whose prompt nobody shares, or count why there is none."""
        if output <= 0:
            self.report.drop("no output tokens (failed)")
            return None
        if prompt <= 0:
            self.report.drop("no prompt tokens")
            return None
        self._next += 1
        span = (Span(self._next, prompt),)
        return TraceRequest(
            id=f"r{self._next - 1}", arrival=arrival, prompt=span, output_tokens=output, **rest
        )


def columns(source: Source, wanted: Mapping[str, tuple[str, ...]], optional: tuple[str, ...] = ()) -> Table:
    """Open a CSV file and find its columns.

    Args:
        source: the file.
        wanted: names that a column may have, by what it is called here.
        optional: which of them may be missing.

    Raises:
        ConfigError: unreadable, empty, or a column is missing.
    """
    file = source.open()
    rows = csv.reader(file)
    header = next(rows, [])
    places = {}
    for name, spellings in wanted.items():
        found = [header.index(one) for one in spellings if one in header]
        if found:
            places[name] = found[0]
        elif name not in optional:
            expected = ", ".join(" or ".join(others) for key, others in wanted.items() if key not in optional)
            message = f"{source.path} lacks the column {spellings[0]}; expected {expected}"
            raise ConfigError(source.field, message)
    return Table(file, rows, places)


class Table:
    """Rows of a CSV file, and at which place each column stands."""

    def __init__(self, file: IO[str], rows: Any, places: dict[str, int]) -> None:
        self._file, self._rows, self.places = file, rows, places

    def read(
        self, source: Source, convert: Callable[[list[str]], TraceRequest | None]
    ) -> Iterator[TraceRequest]:
        """Yield what ``convert`` makes of each row; its errors become numbered ones."""
        with self._file:
            for row in self._rows:
                if not row:
                    continue
                try:
                    request = convert(row)
                except (ValueError, IndexError) as error:
                    raise source.wrong(self._rows.line_num, error) from None
                if request is not None:
                    yield request


def in_order(
    source: Source, requests: Iterator[TraceRequest], window: int = REORDER
) -> Iterator[TraceRequest]:
    """Yield requests by arrival, holding ``window`` of them back.

    Raises:
        ConfigError: one is further out of order than that.
    """
    heap: list[tuple[float, int, TraceRequest]] = []
    last = float("-inf")
    for number, request in enumerate(requests):
        if request.arrival < last:
            late = f"{request.id} arrives before requests far ahead of it"
            raise ConfigError(source.field, f"{source.path}: {late}; sort the file by arrival")
        item = (request.arrival, number, request)
        if len(heap) < window:
            heapq.heappush(heap, item)
            continue
        _, _, first = heapq.heappushpop(heap, item)
        last = first.arrival
        yield first
    while heap:
        yield heapq.heappop(heap)[2]
