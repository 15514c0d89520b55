"""``penstock bench``: measure a server, or the engine without one."""

from __future__ import annotations

from penstock.cli import bench_offline, bench_serve
from penstock.cli.parser import Parser, Verbs, add_verbs

_HELP = "Measure a running server, or the engine offline."
_TEXT = """
`bench serve` loads any OpenAI-compatible server and reports TTFT, TPOT, ITL, E2E and goodput.
`bench throughput` and `bench latency` run the engine in this process, without a server.

examples:
  penstock bench serve --request-rate 4 --num-prompts 200
  penstock bench throughput --num-prompts 64 --roofline
  penstock bench latency --batch-size 8 --input-len 256 --output-len 64
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb and the verbs below it."""
    parser = verbs.add_parser("bench", help=_HELP, description=f"{_HELP}\n\n{_TEXT.strip()}")
    kinds = add_verbs(parser, "benchmarks")
    bench_serve.add(kinds)
    bench_offline.add(kinds)
