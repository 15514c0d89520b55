"""``penstock run-batch``: answer a file of requests with a model in this process, no server."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.config.flags import add_flags, config_from_args
from penstock.config.settings import Config
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.server.batch import BatchTally, Past

_TEXT = """
The input holds one request per line, as OpenAI's batch API takes them:

  {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [...]}}

Each line of the output carries the custom_id and what the endpoint answered, in the order in which answers
come. A line that cannot be understood becomes an error line and never stops the rest. A run that was
interrupted goes on where it was: requests that the output answers already are not asked again.

examples:
  penstock run-batch -i requests.jsonl -o answers.jsonl
  penstock run-batch -i requests.jsonl -o answers.jsonl --model /models/llama-3.2-1b --max-num-seqs 64
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    text = "Answer a file of requests with a model in this process."
    parser = add_verb(verbs, "run-batch", run, text, _TEXT, "-i FILE -o FILE")
    parser.add_argument("-i", "--input-file", metavar="FILE", required=True, help="requests, JSON lines")
    parser.add_argument("-o", "--output-file", metavar="FILE", required=True, help="answers are added here")
    flag(parser, "--concurrency", 0, "N", "requests under way at once", number(0), "twice --max-num-seqs")
    add_flags(parser, only=("model", "cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Answer the file; 1 when some request failed or some line was malformed."""
    config = config_from_args(args)
    source, target = Path(args.input_file), Path(args.output_file)
    total = _count_lines(source)
    with _resumed(target) as (past, out):
        began = time.perf_counter()
        concurrency = args.concurrency or 2 * config.schedule.max_num_seqs
        tally = asyncio.run(_answer(config, source, out, past, min(concurrency, max(1, total)), total))
    _tell(tally, time.perf_counter() - began)
    return 1 if tally.failed or tally.malformed else 0


async def _answer(
    config: Config, source: Path, out: BinaryIO, past: Past, concurrency: int, total: int
) -> BatchTally:
    from penstock.frontend.async_engine import AsyncEngine
    from penstock.server.app import create_app
    from penstock.server.batch import BatchAnswer, BatchRun
    from penstock.server.keystore import KeyStore

    def write(answer: BatchAnswer) -> None:
        out.write(msgspec.json.encode(answer) + b"\n")
        out.flush()

    async with await AsyncEngine.start(config) as engine:
        with _bar(total) as progress, source.open("rb") as lines:
            app = create_app(engine, config, KeyStore())  # nobody but us can reach it: no key is asked for
            return await BatchRun(app, write, past, progress).run(lines, concurrency)


def _count_lines(source: Path) -> int:
    try:
        with source.open("rb") as lines:
            return sum(1 for line in lines if line.strip())
    except OSError as exc:
        raise ConfigError("--input-file", f"cannot read {source}: {exc.strerror}") from exc


@contextmanager
def _resumed(target: Path) -> Iterator[tuple[Past, BinaryIO]]:
    """Yield what an earlier run wrote and the file, open for more; a line that was cut off is dropped."""
    try:
        with target.open("a+b") as out:
            out.seek(0)
            past, good = _past(out, target)
            out.truncate(good)
            yield past, out
    except OSError as exc:
        raise ConfigError("--output-file", f"cannot write {target}: {exc.strerror}") from exc


def _past(lines: BinaryIO, target: Path) -> tuple[Past, int]:
    from penstock.server.batch import BatchAnswer, Past

    past, good = Past(), 0
    for count, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        good += len(line)
        try:
            answer = msgspec.json.decode(line, type=BatchAnswer)
        except msgspec.DecodeError:
            text = f"line {count} of {target} is not an answer of a batch; name another file"
            raise ConfigError("--output-file", text) from None
        if answer.error is not None:
            past.lines.add(answer.error.line)
        elif answer.custom_id is not None:
            past.custom_ids.add(answer.custom_id)
    return past, good


@contextmanager
def _bar(total: int) -> Iterator[Callable[[BatchTally], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        TextColumn("{task.fields[tokens]} tokens"),
    )
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, disable=not shown.is_terminal) as progress:
        task = progress.add_task("requests", total=total, tokens=0)

        def update(tally: BatchTally) -> None:
            done = tally.answered + tally.failed + tally.malformed + tally.skipped
            progress.update(task, completed=done, tokens=tally.completion_tokens)

        yield update


def _tell(tally: BatchTally, seconds: float) -> None:
    parts = [f"{tally.answered} answered"]
    for count, what in (
        (tally.failed, "refused or failed"),
        (tally.malformed, "malformed"),
        (tally.skipped, "answered before"),
    ):
        if count:
            parts.append(f"{count} {what}")
    tokens = f"{tally.prompt_tokens} prompt and {tally.completion_tokens} generated tokens"
    print(f"{', '.join(parts)}; {tokens} in {seconds:.1f} s", file=sys.stderr)
