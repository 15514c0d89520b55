"""``penstock bench throughput`` and ``penstock bench latency``: the engine in this process, no server."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.bench_flags import (
    add_length_flags,
    add_result_flags,
    add_workload_flags,
    percentiles_of,
    progress,
    workload_spec,
)
from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.cli.serve import add_model_argument, take_model_argument
from penstock.config.flags import add_flags, config_from_args

if TYPE_CHECKING:
    from penstock.bench.session import Session

_THROUGHPUT = """
All requests are put on the engine at once; outputs run to their full length. --seed also seeds the workload.

examples:
  penstock bench throughput
  penstock bench throughput /models/llama-3.2-1b --num-prompts 64 --input-len 512 --output-len 128
  penstock bench throughput --load-format dummy --model /models/config-only --roofline --save results/
"""

_LATENCY = """
A batch of equal requests is run to its end, again and again, with fresh random prompts each time.

examples:
  penstock bench latency
  penstock bench latency --batch-size 8 --input-len 256 --output-len 64 --num-iters 20
"""

_SECTIONS = ("model", "cache", "schedule")


def add(kinds: Verbs[Parser]) -> None:
    """Add both benchmarks."""
    text = "Measure how many requests and tokens per second the engine does."
    parser = add_verb(kinds, "throughput", run_throughput, text, _THROUGHPUT, "[MODEL]")
    add_model_argument(parser)
    add_workload_flags(parser)
    _add_common(parser)
    text = "Measure the latency of one batch of requests."
    parser = add_verb(kinds, "latency", run_latency, text, _LATENCY, "[MODEL]")
    add_model_argument(parser)
    group = parser.add_argument_group("workload")
    flag(group, "--batch-size", 8, "N", "requests at once", number(1))
    add_length_flags(group, "32", "128")
    flag(group, "--num-iters", 10, "N", "batches measured", number(1))
    flag(group, "--num-iters-warmup", 2, "N", "batches run before them", number(0))
    _add_common(parser)


def _add_common(parser: Parser) -> None:
    result = add_result_flags(parser)
    text = "measure this machine's memory bandwidth and report which share of it decoding reached"
    result.add_argument("--roofline", action="store_true", help=text)
    add_flags(parser, only=_SECTIONS)


def run_throughput(args: argparse.Namespace) -> int:
    """Run the throughput benchmark, print and save it."""
    from penstock.bench.offline import run_offline
    from penstock.bench.report import latency_table, print_table
    from penstock.bench.workload import build_workload, check_workload
    from penstock.workload.metrics.records import aggregate

    check_workload(workload_spec(args, vocab_size=256, seed=0))
    percentiles, session = percentiles_of(args), _open(args)
    items = build_workload(workload_spec(args, session.vocab_size, session.config.model.seed))
    session.warm_up()
    with progress(args, "requests", len(items)) as on_done:
        run = run_offline(session.engine, items, on_done)
    figures: dict[str, Any] = aggregate(run.records, run.duration, None, percentiles)
    figures |= {
        "elapsed_time": run.duration,
        "num_requests": len(items),
        "total_num_tokens": figures["total_input_tokens"] + figures["total_output_tokens"],
        "requests_per_second": figures["request_throughput"],
        "tokens_per_second": figures["total_token_throughput"],
    }
    figures |= session.figures(roofline=args.roofline)
    rows = [
        ("requests", f"{figures['request_throughput']:.2f} per second"),
        ("prompt tokens", f"{figures['input_throughput']:.1f} per second"),
        ("output tokens", f"{figures['output_throughput']:.1f} per second"),
        ("duration", f"{figures['duration']:.2f} s for {len(items)} requests"),
        ("steps", f"{figures['steps']}, {figures['preemptions']} preemptions"),
    ]
    print_table("Throughput", rows + session.roofline_rows(figures))
    latency_table(figures, percentiles)
    return _finish(args, "throughput", session, figures)


def run_latency(args: argparse.Namespace) -> int:
    """Run the latency benchmark, print and save it."""
    from penstock.bench.offline import run_offline
    from penstock.bench.report import latency_table, print_table
    from penstock.bench.workload import WorkloadSpec, build_workload, check_workload
    from penstock.workload.metrics.records import aggregate, summarise

    spec = WorkloadSpec(count=args.batch_size, input_len=args.input_len, output_len=args.output_len)
    check_workload(spec)
    percentiles, session = percentiles_of(args), _open(args)
    records, durations = [], []
    with progress(args, "batches", args.num_iters * args.batch_size) as on_done:
        for index in range(-args.num_iters_warmup, args.num_iters):
            # Another seed each time: fresh prompts, so that no prefix is found again.
            seed = session.config.model.seed + index + args.num_iters_warmup
            items = build_workload(replace(spec, vocab_size=session.vocab_size, seed=seed))
            if index == 0:
                session.meter.steps.clear()
            run = run_offline(session.engine, items, on_done if index >= 0 else None)
            if index >= 0:
                records += run.records
                durations.append(run.duration)
    figures: dict[str, Any] = aggregate(records, sum(durations), None, percentiles)
    figures |= {"avg_latency": sum(durations) / len(durations), "latencies": durations}
    figures |= summarise("batch", durations, percentiles) | session.figures(roofline=args.roofline)
    rows = [
        ("batch", f"{args.batch_size} requests, {args.num_iters} times"),
        ("latency of a batch, mean", f"{figures['mean_batch_ms']:.1f} ms"),
        ("latency of a batch, median", f"{figures['median_batch_ms']:.1f} ms"),
        ("output tokens", f"{figures['output_throughput']:.1f} per second"),
    ]
    print_table("Latency of a batch", rows + session.roofline_rows(figures))
    latency_table(figures, percentiles)
    return _finish(args, "latency", session, figures)


def _open(args: argparse.Namespace) -> Session:
    """Build the engine that the flags describe; refuses a bad place for the result first."""
    from penstock.bench.report import result_path
    from penstock.bench.session import open_session

    take_model_argument(args)
    args.save = str(result_path(args.save, args.benchmarks)) if args.save else ""
    return open_session(config_from_args(args))


def _finish(args: argparse.Namespace, kind: str, session: Session, figures: dict[str, Any]) -> int:
    """Save, close, and report failures."""
    from penstock.bench.report import envelope, write_result
    from penstock.config.load import to_dict

    if args.save:
        mine = ("input_len", "output_len", "dataset_name", "num_prompts", "batch_size", "num_iters", "note")
        settings = {name: value for name, value in vars(args).items() if name in mine}
        settings["config"] = to_dict(session.config)
        # Results are published: the model's name says what ran, this machine's folders say nothing.
        settings["config"]["model"]["model"] = session.config.model.served_model_name
        write_result(Path(args.save), envelope(kind, settings, devices=True) | figures)
        print(f"saved {args.save}")
    session.engine.close()
    if figures["failed"]:
        args.parser.exit(1, f"penstock: {figures['failed']} requests failed\n")
    return 0
