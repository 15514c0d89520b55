"""What may be kept of production traffic: when, how long, whose, and which prefixes were equal; never the
text.

A line of the recording is read back by `penstock.workload.readers.jsonl`. Names that clients chose
(tenants, programs, tools, groups) become pseudonyms, prompts and answers become chains of keyed hashes per
page. The key is drawn when a recording begins and kept nowhere, so that nobody can test a guess against the
file.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from penstock.core.output import Finish
from penstock.core.request import RequestSpec, Turn
from penstock.workload.pages import page_hashes
from penstock.workload.readers.jsonl import Line

PAGE = 16
"""Tokens per hashed page: every common page of a prefix cache is a multiple of it."""
_ENCODER = msgspec.json.Encoder()


class Traffic(msgspec.Struct, frozen=True, gc=False):
    """One request that has ended."""

    spec: RequestSpec
    arrival: float
    """Wall-clock seconds at which it reached the front door."""
    output_ids: Sequence[int]
    finish: Finish
    cached_tokens: int = 0


def traffic_line(traffic: Traffic, number: int, salt: bytes, page: int = PAGE) -> bytes:
    """Return the line of a request, with its newline.

    Args:
        traffic: the request; its text and token ids leave no trace but keyed hashes.
        number: names it; clients' own ids are not kept.
        salt: 1 to 64 secret bytes, the same for the whole recording.
        page: tokens per hash.
    """
    spec, finish = traffic.spec, traffic.finish
    times = finish.timeline

    def alias(kind: str, name: str | None) -> str | None:
        return (
            None if name is None else f"{kind}-{blake2b(name.encode(), digest_size=6, key=salt).hexdigest()}"
        )

    turn = spec.turn
    if turn is not None:
        turn = Turn(index=turn.index, last=turn.last, tool=alias("tool", turn.tool))
    # The cache shares nothing across namespaces, so the same tokens in another one are another prefix.
    key = blake2b(spec.cache_namespace.encode(), digest_size=32, key=salt).digest()
    line = Line(
        id=f"q{number}",
        arrival=traffic.arrival,
        prompt_tokens=len(spec.prompt_ids),
        output_tokens=len(traffic.output_ids),
        page=page,
        pages=page_hashes([*spec.prompt_ids, *traffic.output_ids], page, key),
        finish=str(finish.reason),
        ttft=max(times.first_token - times.arrival, 0.0) if times.first_token else 0.0,
        e2el=max(times.last_token - times.arrival, 0.0) if times.last_token else 0.0,
        cached_tokens=traffic.cached_tokens,
        max_tokens=spec.sampling.max_tokens,
        tenant="default" if spec.tenant == "default" else alias("tenant", spec.tenant) or "default",
        weight=spec.weight,
        priority=spec.priority,
        slo=spec.slo,
        program=alias("program", spec.program),
        turn=turn,
        length_score=spec.length_score,
        group=alias("group", spec.group),
    )
    return _ENCODER.encode(line) + b"\n"
