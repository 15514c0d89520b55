"""Pages of prompts: hashed in chains when traffic is recorded, and turned back into spans when it is
replayed."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from penstock.workload.request import Span


def page_hashes(tokens: Sequence[int], page: int, salt: bytes) -> tuple[str, ...]:
    """Return a chained hash per full page: equal if and only if all tokens up to the page's end are.

    Args:
        tokens: ids, each >= 0.
        page: tokens per page.
        salt: up to 64 secret bytes; without them nobody can test a guess of the text.
    """
    raw = array("q", tokens).tobytes()
    width, chain, hashes = page * 8, b"", []
    for begin in range(0, len(raw) - width + 1, width):
        chain = blake2b(chain + raw[begin : begin + width], digest_size=10, key=salt).digest()
        hashes.append(chain.hex())
    return tuple(hashes)


class PageSpans:
    """Gives equal chains of pages equal spans, across all requests that are put to it."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Span, ...]] = {}
        self._streams = 0

    def spans(
        self, prompt: int, output: int, page: int, pages: Sequence[str]
    ) -> tuple[tuple[Span, ...], int]:
        """Return a prompt's spans and the stream of the answer.

        Args:
            prompt, output: lengths in tokens.
            page: tokens per page.
            pages: chained hashes of the full pages of prompt and answer together.
        """
        shared: list[Span] = []
        covered = 0
        for name in pages:
            found = self._known.get(name)
            if found is None or covered + page > prompt:
                break
            shared.extend(found)
            covered += page
        if covered < prompt:
            shared.append(Span(self._new(), prompt - covered, covered))
        spans, stream = _joined(shared), self._new()
        layout = (*spans, Span(stream, output))
        begin = 0
        for name in pages:
            if name not in self._known:
                self._known[name] = _cut(layout, begin, page)
            begin += page
        return spans, stream

    def _new(self) -> int:
        self._streams += 1
        return self._streams


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the same tokens in as few spans as possible."""
    result: list[Span] = []
    for span in spans:
        last = result[-1] if result else None
        if last is not None and last.stream == span.stream and last.start + last.length == span.start:
            result[-1] = Span(span.stream, last.length + span.length, last.start)
        else:
            result.append(span)
    return tuple(result)


def _cut(spans: Sequence[Span], begin: int, length: int) -> tuple[Span, ...]:
    """Return ``length`` tokens of the concatenated spans from ``begin`` on."""
    result = []
    for span in spans:
        if begin < span.length and length > 0:
            taken = min(span.length - begin, length)
            result.append(Span(span.stream, taken, span.start + begin))
            length -= taken
            begin = 0
        else:
            begin = max(begin - span.length, 0)
    return tuple(result)
