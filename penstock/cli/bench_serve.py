"""``penstock bench serve``: load any OpenAI-compatible server and report what clients felt."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.cli.bench_flags import (
    add_result_flags,
    add_workload_flags,
    percentiles_of,
    progress,
    workload_spec,
)
from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.bench.client import Target
    from penstock.bench.serve import Run
    from penstock.bench.workload import Item

COMPLETIONS = "/v1/completions"

_TEXT = """
Open loop by default: requests are sent when they are due, however slow the server is; --max-concurrency
closes the loop. Latency counts from sending to what the client received. Random prompts are sent as token ids
to /v1/completions, so that their length is exact; to a chat endpoint they go as words.

examples:
  penstock bench serve --request-rate 4 --num-prompts 200 --goodput ttft:500,tpot:100
  penstock bench serve --request-rate 4 --burstiness 0.25 --input-len lognormal:300:0.8
  penstock bench serve --max-concurrency 8 --ignore-eos --save results/ --plot run.png
  penstock bench serve --dataset-name trace --dataset-path AzureLLMInferenceTrace_conv.csv --num-prompts 500
  penstock bench serve --endpoint /v1/chat/completions --dataset-name jsonl --dataset-path prompts.jsonl
"""


def add(kinds: Verbs[Parser]) -> None:
    """Add the benchmark."""
    parser = add_verb(kinds, "serve", run, "Load an OpenAI-compatible server and measure it.", _TEXT)
    _add_target_flags(parser)
    workload = add_workload_flags(parser)
    text = "random token ids are below it"
    flag(workload, "--vocab-size", None, "N", text, number(2), "what /v1/models says, else 256")
    flag(workload, "--seed", 0, "N", "seed of the workload", number(0))
    _add_load_flags(parser)
    result = add_result_flags(parser)
    result.add_argument(
        "--save-detailed", action="store_true", help="save every request's times and text too"
    )
    flag(result, "--plot", "", "FILE", "draw the run to a .png, .svg or .pdf", shown="none")
    text = "objectives on ttft, tpot, e2el; ms unless they end in s: ttft:500,tpot:100"
    result.add_argument("--goodput", nargs="+", default=[], metavar="METRIC:VALUE", help=text)


def _add_target_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("server")
    seconds = number(0, whole=False)
    flag(group, "--base-url", "http://127.0.0.1:8000", "URL", "where the server is")
    flag(group, "--endpoint", COMPLETIONS, "PATH", "that or /v1/chat/completions")
    flag(group, "--model", "", "NAME", "model to ask for", shown="the first that the server lists")
    flag(group, "--api-key", None, "KEY", "bearer key", shown="$OPENAI_API_KEY if set")
    names = "--ready-timeout --ready-check-timeout-sec"
    flag(group, names, 60.0, "SECONDS", "wait so long for the server to answer", seconds)
    flag(group, "--timeout", 600.0, "SECONDS", "give up a request without news for so long", seconds)
    text = "generate to the full length, and check that it was reached"
    group.add_argument("--ignore-eos", action="store_true", help=text)
    flag(group, "--temperature", None, "X", "sampling temperature", seconds, "the server's")
    flag(group, "--extra-body", "{}", "JSON", "fields added to every request")


def _add_load_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load")
    above = number(0, whole=False)
    shown = "a trace's own times, else inf"
    flag(group, "--request-rate", None, "R", "requests per second; inf sends all at once", above, shown)
    text = "shape of the Gamma gaps: 1 is Poisson, below 1 burstier, above 1 steadier"
    flag(group, "--burstiness", 1.0, "X", text, above)
    flag(group, "--trace-speed", 1.0, "X", "play recorded times so many times as fast", above)
    flag(group, "--max-concurrency", 0, "N", "most requests in flight", number(0), "not bounded")
    flag(group, "--num-warmups", 1, "N", "requests sent beforehand and left out of the figures", number(0))


def run(args: argparse.Namespace) -> int:
    """Run the benchmark, print its figures, save what was asked for."""
    from penstock.bench.plot import check_plot, plot_run
    from penstock.bench.report import (
        details,
        latency_table,
        print_table,
        result_path,
        serve_rows,
        write_result,
    )
    from penstock.workload.metrics.records import aggregate, parse_slo

    percentiles, objectives = percentiles_of(args), parse_slo(args.goodput)
    if args.plot:
        check_plot(args.plot)
    path = result_path(args.save, "serve") if args.save else None
    target, items, measured = asyncio.run(_drive(args))
    figures = aggregate(measured.records, measured.duration, objectives, percentiles)
    result = _result(args, target, items, measured, figures)
    print_table(f"{target.model} at {args.base_url}", serve_rows(result))
    latency_table(result, percentiles)
    _warn(measured, figures)
    if path:
        write_result(path, result | (details(measured.records) if args.save_detailed else {}))
        print(f"saved {path}")
    if args.plot:
        plot_run(measured.records, args.plot, target.model)
        print(f"drew {args.plot}")
    return 0 if figures["completed"] else 1


async def _drive(args: argparse.Namespace) -> tuple[Target, list[Item], Run]:
    """Find the server, build the workload for it, and put it on."""
    from penstock.bench.client import Target, open_client
    from penstock.bench.serve import Load, discover, run_load
    from penstock.bench.workload import as_text, build_workload, check_workload

    target = Target(
        base_url=args.base_url,
        endpoint=args.endpoint,
        model=args.model,
        api_key=os.environ.get("OPENAI_API_KEY", "") if args.api_key is None else args.api_key,
        ignore_eos=args.ignore_eos,
        temperature=args.temperature,
        extra=_extra(args.extra_body),
        timeout=args.timeout,
    )
    check_workload(workload_spec(args, args.vocab_size or 256, args.seed))
    async with open_client(target) as client:
        entry = await discover(client, args.ready_timeout)
    target = replace(target, model=args.model or entry["id"])
    vocab_size = args.vocab_size or entry.get("vocab_size") or 256
    items = build_workload(workload_spec(args, vocab_size, args.seed))
    if target.is_chat:
        items = as_text(items)
    with progress(args, "requests", len(items)) as on_done:
        load = Load(args.max_concurrency, args.num_warmups)
        return target, items, await run_load(target, items, load, on_done)


def _extra(text: str) -> dict[str, Any]:
    try:
        extra = json.loads(text)
    except ValueError as error:
        raise ConfigError("--extra-body", f"not valid JSON: {error}") from None
    if not isinstance(extra, dict):
        raise ConfigError("--extra-body", f"expected a JSON object, got {text!r}")
    return extra


def _result(
    args: argparse.Namespace, target: Target, items: list[Item], measured: Run, figures: dict[str, Any]
) -> dict[str, Any]:
    from penstock.bench.report import envelope

    hidden = ("run", "parser", "api_key", "debug", "no_progress", "verbs", "benchmarks")
    settings = {name: value for name, value in vars(args).items() if name not in hidden}
    settings |= {"dataset_path": str(args.dataset_path or ""), "request_rate": _rate(args)}
    return envelope("serve", settings) | {
        "backend": "openai",
        "model_id": target.model,
        "num_prompts": len(items),
        "request_rate": _rate(args),
        "burstiness": args.burstiness,
        "max_concurrency": args.max_concurrency or None,
        "max_concurrent_requests": measured.peak_concurrency,
        **figures,
    }


def _rate(args: argparse.Namespace) -> float | str:
    """Return the rate in a form that JSON can hold."""
    if args.request_rate is None:
        return "trace" if args.dataset_name == "trace" else "inf"
    return "inf" if args.request_rate == float("inf") else args.request_rate


def _warn(measured: Run, figures: dict[str, Any]) -> None:
    """Say what makes the figures doubtful."""
    from rich.console import Console

    console = Console(stderr=True, style="yellow", highlight=False)
    errors = [record.error for record in measured.records if record.error]
    if errors:
        console.print(f"{len(errors)} requests failed; the first: {errors[0]}", markup=False)
    if figures["output_length_mismatches"]:
        text = f"{figures['output_length_mismatches']} requests did not return exactly the tokens asked for"
        console.print(text + "; does the server know ignore_eos?")
    if figures["p99_client_delay_ms"] > 50:
        console.print(
            "this client sent requests late (see client delay): lower the rate or use a faster machine"
        )
