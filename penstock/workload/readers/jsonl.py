"""JSON lines: our own schema (whole requests, or what a recorder may know), and runs of vLLM's benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from penstock.workload.pages import PageSpans
from penstock.workload.readers.lines import Source
from penstock.workload.request import Span, TraceRequest


class Line(TraceRequest, frozen=True, kw_only=True, omit_defaults=True):
    """One line: `TraceRequest`, where prompts may also be a length, with or without hashes of pages."""

    id: str = ""
    prompt: tuple[Span, ...] = ()
    prompt_tokens: int = 0
    """Length of a prompt that is not described by spans."""
    page: int = 0
    """Tokens per hashed page."""
    pages: tuple[str, ...] = ()
    """Chained hashes of the full pages of prompt and output, first page first
    (`penstock.workload.recorder`)."""
    finish: str = ""
    """How it ended, where that was recorded; only ``stop`` and ``length`` are replayed."""
    ttft: float = 0.0
    e2el: float = 0.0
    cached_tokens: int = 0


_COPIED = tuple(f for f in TraceRequest.__struct_fields__ if f not in ("id", "prompt"))


def jsonl(source: Source) -> Iterator[TraceRequest]:
    """Read our own JSON lines; equal chains of page hashes become equal spans, so that prefix sharing is
    replayed."""
    decoder = msgspec.json.Decoder(Line)
    spans = PageSpans()
    with source.open() as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = decoder.decode(text)
            except msgspec.MsgspecError as error:
                raise source.wrong(number, error) from None
            request = _request(source, line, spans, number)
            if request is not None:
                yield request


def _request(source: Source, line: Line, spans: PageSpans, number: int) -> TraceRequest | None:
    if line.finish not in ("", "stop", "length"):
        source.report.drop(f"ended by {line.finish}")
        return None
    if line.output_tokens <= 0:
        source.report.drop("no output tokens (failed)")
        return None
    prompt, stream = line.prompt, line.output_stream
    if not prompt:
        if line.prompt_tokens <= 0:
            raise source.wrong(number, "expected arrival, output_tokens, and prompt or prompt_tokens above 0")
        if line.pages and line.page <= 0:
            raise source.wrong(number, "expected page, the tokens per page, beside pages")
        prompt, stream = spans.spans(line.prompt_tokens, line.output_tokens, line.page, line.pages)
    rest = {name: getattr(line, name) for name in _COPIED} | {"output_stream": stream}
    return TraceRequest(id=line.id or f"r{number - 1}", prompt=prompt, **rest)


def write_jsonl(requests: Iterable[TraceRequest]) -> Iterator[bytes]:
    """Yield the lines of requests, each ending in a newline; `jsonl` reads them back unchanged."""
    encoder = msgspec.json.Encoder()
    for request in requests:
        yield encoder.encode(request) + b"\n"


class _Run(msgspec.Struct):
    input_toks: int
    output_toks: int
    arrival_time: float
    request_id: str = ""


def vllm_run(source: Source) -> Iterator[TraceRequest]:
    """Read per-request lines of a vLLM run: ``input_toks``, ``output_toks``, ``arrival_time``; arrivals
    begin at 0."""
    decoder, begin = msgspec.json.Decoder(_Run), None
    with source.open() as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = decoder.decode(text)
            except msgspec.MsgspecError as error:
                raise source.wrong(number, error) from None
            begin = line.arrival_time if begin is None else begin
            request = source.request(line.arrival_time - begin, line.input_toks, line.output_toks)
            if request is not None:
                yield msgspec.structs.replace(request, id=line.request_id or request.id)
