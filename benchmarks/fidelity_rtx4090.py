"""Replay a recorded vLLM run in the simulator, from layer timings alone, and compare latencies.

The data are LLMServingSim's: a profile (layer timings of a card and model) and a run (per-request lengths and
times, vLLM's configuration). vLLM's configuration is expressed in our settings; nothing is fitted to the run.

    python benchmarks/fidelity_rtx4090.py [DATA_FOLDER] [--profile FOLDER] [--run FOLDER] [--prompts FILE]

DATA_FOLDER holds ``profile`` and ``vllm_run``; without it, ``$PENSTOCK_DATA/rtx4090_llama3.1_8b``. The run
does not say which prompts share a prefix; LLMServingSim's workload file does: name it with --prompts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from penstock.bench.report import envelope, print_table, result_path, write_result
from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.output import Output
from penstock.core.policy import StepCost
from penstock.cost.model import CostModel
from penstock.cost.spec import load_cost
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import capacities, replica_maker
from penstock.sim.simulation import Simulation
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.percentiles import percentile
from penstock.workload.request import Span, TraceRequest

METRICS = ("TTFT", "TPOT", "E2E")
FIGURES = ("mean", "median", "P90", "P95", "P99")
BARS = {"mean": 0.03, "P99": 0.05}
"""Largest relative error that the project allows itself."""
SPEED_UP = 300.0
"""Simulated seconds per second that the project asks for, on an idle core."""


class Run(NamedTuple):
    """A recorded run: what arrived when, what became of it, and how the engine was set up."""

    requests: tuple[TraceRequest, ...]
    times: dict[str, tuple[float, float, float]]
    """By id: arrival at the engine, first and last token, seconds from the first arrival."""
    settings: dict[str, Any]


class WithIds(TraceRequest, frozen=True, kw_only=True):
    """A request whose prompt's token ids are known, so that shared prefixes are found as the engine did."""

    ids: tuple[int, ...]

    def prompt_ids(self, vocab_size: int = 0) -> tuple[int, ...]:
        """Return the known ids, apart from those that the simulator makes up for answers."""
        return tuple(i + 1 for i in self.ids)


class Ends:
    """Collects the first and the last token of each request."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def arrived(self, request: TraceRequest, now: float) -> None:
        self.times[request.id] = [now, 0.0, 0.0]

    def tokens(self, request_id: str, count: int, now: float, cached: int = 0) -> None:
        times = self.times[request_id]
        times[2] = now
        times[1] = times[1] or now

    def preempted(self, request_id: str, now: float) -> None:
        pass

    def finished(self, request_id: str, now: float, ok: bool, output: Output | None, detail: str) -> None:
        if not ok:
            raise RuntimeError(f"{request_id} did not finish: {detail}")


def read_run(folder: Path, prompts: Path | None = None, blocks: int = 0) -> Run:
    """Read ``requests.jsonl`` and ``meta.json``; requests arrive when vLLM's engine queued them.

    vLLM notes the client's arrival on another clock than the rest; this takes the engine's, as LLMServingSim.
    """
    rows = [json.loads(text) for text in (folder / "requests.jsonl").read_text().splitlines()]
    rows.sort(key=lambda row: row["queued_ts"])
    begun = rows[0]["queued_ts"]
    ids: dict[str, tuple[int, ...]] = {}
    if prompts is not None:
        for n, text in enumerate(prompts.read_text().splitlines()):
            ids[f"bench-{n}"] = tuple(json.loads(text)["input_tok_ids"])
    requests: list[TraceRequest] = []
    times = {}
    for n, row in enumerate(rows):
        name, arrival = row["request_id"], row["queued_ts"] - begun
        times[name] = (arrival, row["first_token_ts"] - begun, row["last_token_ts"] - begun)
        common: dict[str, Any] = {"id": name, "arrival": arrival, "output_tokens": row["output_toks"]}
        if prompts is not None:
            requests.append(WithIds(prompt=(), ids=ids[name], **common))
        else:
            requests.append(TraceRequest(prompt=(Span(n + 1, row["input_toks"]),), **common))
    meta = json.loads((folder / "meta.json").read_text())
    cache = meta.get("kv_cache") or {}
    kwargs, config = meta["engine_kwargs"], meta.get("resolved_config", {})
    settings = {
        "blocks": blocks or cache.get("num_gpu_blocks"),
        "page": cache.get("block_size", 16),
        "seqs": kwargs["max_num_seqs"],
        "tokens": kwargs["max_num_batched_tokens"],
        "length": kwargs.get("max_model_len") or 131072,
        "prefix_caching": cache.get("enable_prefix_caching", True),
        "depth": int(config.get("scheduler_config", {}).get("async_scheduling", True)),
    }
    if not settings["blocks"]:
        raise SystemExit(
            f"{folder}/meta.json does not say how many KV blocks there were: name them with --blocks"
        )
    return Run(tuple(requests), times, settings)


def simulate(run: Run, cost: StepCost) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Return the simulated times, as in `Run.times`, and the seconds of real time that it took."""
    s = run.settings
    schedule = ScheduleConfig(
        max_num_seqs=s["seqs"],
        max_num_batched_tokens=s["tokens"],
        order="fcfs",
        shape="chunked",
        preempt="newest",
        # vLLM admits a prompt when its blocks are free, without headroom for those already running.
        reserve="known(0)",
        admit="unlimited",
    )
    spec = capacities(
        s["blocks"], page_size=s["page"], slots=s["seqs"], max_model_len=s["length"], depth=s["depth"]
    )
    ends = Ends()
    begun = time.perf_counter()
    maker = replica_maker(spec, cost, schedule, CacheConfig(enable_prefix_caching=s["prefix_caching"]))
    Simulation([maker], OpenLoop(run.requests), ends, RoundRobin()).run()
    return {name: (a, f, e) for name, (a, f, e) in ends.times.items()}, time.perf_counter() - begun


def figures(run: Run, times: dict[str, tuple[float, float, float]]) -> dict[str, dict[str, float]]:
    """Return mean and nearest-rank percentiles, seconds; TPOT of answers of two tokens or more."""
    samples: dict[str, list[float]] = {name: [] for name in METRICS}
    for request in run.requests:
        arrival, first, last = times[request.id]
        samples["TTFT"].append(first - arrival)
        samples["E2E"].append(last - arrival)
        if request.output_tokens > 1:
            samples["TPOT"].append((last - first) / (request.output_tokens - 1))
    return {
        name: {"mean": sum(values) / len(values), "median": percentile(values, 50)}
        | {f"P{p}": percentile(values, p) for p in (90, 95, 99)}
        for name, values in samples.items()
    }


def errors(
    measured: dict[str, dict[str, float]], simulated: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Return the relative errors of the simulated figures."""
    return {m: {f: simulated[m][f] / measured[m][f] - 1 for f in FIGURES} for m in METRICS}


def best_of(run: Run, cost: CostModel, times: int) -> tuple[dict[str, tuple[float, float, float]], float]:
    """Simulate so many times, which always gives the same; return the least real time."""
    results = [simulate(run, cost) for _ in range(times)]
    return results[0][0], min(seconds for _, seconds in results)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, print, save; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", nargs="?", default="", help="folder with profile/ and vllm_run/")
    parser.add_argument(
        "--profile", default="", help="folder with layer timings; or a cost model, as KIND:..."
    )
    parser.add_argument("--run", default="", help="folder with requests.jsonl and meta.json")
    parser.add_argument("--prompts", default="", help="workload file with input_tok_ids, for shared prefixes")
    parser.add_argument("--blocks", type=int, default=0, help="KV blocks, where meta.json does not say")
    parser.add_argument("--repeat", type=int, default=3, help="timed runs, the best counts")
    parser.add_argument("--save", default="", help="JSON file, or folder for a dated one")
    parser.add_argument("--note", default="", help="remark kept in the result")
    args = parser.parse_args(argv)
    data = Path(args.data or os.environ.get("PENSTOCK_DATA", "shared/data") + "/rtx4090_llama3.1_8b")
    profile, folder = args.profile or str(data / "profile"), Path(args.run or data / "vllm_run")
    if not (folder / "requests.jsonl").is_file():
        parser.error(f"{folder} holds no requests.jsonl; name the data folder or set PENSTOCK_DATA")
    cost = load_cost(profile if ":" in profile else f"table:{profile}")
    run = read_run(folder, Path(args.prompts) if args.prompts else None, args.blocks)
    times, seconds = best_of(run, cost, args.repeat)
    measured, simulated = figures(run, run.times), figures(run, times)
    off = errors(measured, simulated)
    lasted = max(last for _, _, last in run.times.values())
    rows, missed = [], []
    for metric in METRICS:
        scale, unit = (1000, "ms") if metric == "TPOT" else (1, "s")
        for figure in FIGURES:
            a, b, e = measured[metric][figure] * scale, simulated[metric][figure] * scale, off[metric][figure]
            bar = BARS.get(figure)
            fails = bar is not None and abs(e) > bar
            missed += [f"{figure} {metric}"] if fails else []
            limit = f" (bar {100 * bar:.0f} %{', MISSED' if fails else ''})" if bar else ""
            rows.append((f"{metric} {figure}", f"{a:9.2f} {b:9.2f} {unit:2} {100 * e:+6.2f} %{limit}"))
    speed = lasted / seconds
    rows.append(
        ("real time", f"{seconds:.2f} s for {lasted:.1f} s: {speed:.0f} times (asked: {SPEED_UP:.0f})")
    )
    print_table(f"Measured by vLLM, simulated by Penstock ({cost.describe()}), error", rows)
    if args.save:
        path = result_path(args.save, "fidelity-vllm")
        found = {
            "measured": measured,
            "simulated": simulated,
            "errors": off,
            "seconds": seconds,
            "speed_up": speed,
        }
        write_result(path, envelope("fidelity-vllm", run.settings | {"note": args.note}) | {"results": found})
        print(f"saved {path}")
    if missed:
        print(f"missed: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
