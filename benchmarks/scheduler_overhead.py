"""Median microseconds of the brain alone, plan() + land() of one step, at 64 and 256 running sequences.

The body is `penstock.testing.FakeExecutor`, whose time is not counted. Two states are measured: `decode`
(every sequence generates, nothing comes or goes) and `churn` (sequences finish after 8 to 40 tokens; others,
with prompts of 96 tokens that share their first half, are admitted from a queue of hundreds to thousands;
prefill, prefix look-ups and releases happen in nearly every step). The garbage collector stays on.

    python benchmarks/scheduler_overhead.py [--save FILE_OR_FOLDER] [--running 64,256] [--steps 300]
"""

from __future__ import annotations

import argparse
import gc
import random
import time

from penstock.bench.report import envelope, print_table, result_path, write_result
from penstock.config.settings import ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.request import RequestSpec, SamplingParams
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.policies.bundle import build_policies
from penstock.testing.fake_executor import FakeExecutor
from penstock.workload.metrics.records import percentile

PROMPT = 96
WARM_STEPS = 30
BUDGET_US = {64: 300.0, 256: 1000.0}
"""What the project asks of the median."""


def build(running: int) -> tuple[Scheduler, FakeExecutor]:
    """Return a scheduler that holds ``running`` sequences with ample memory, and its fake body."""
    spec = ExecutorSpec(
        slots=running, blocks=running * 64, page_size=16, max_model_len=4096, vocab_size=32_000
    )
    config = ScheduleConfig(max_num_seqs=running, admit="unlimited")
    scheduler = Scheduler(
        SchedulerState(spec, build_policies(config), max_seqs=running, max_tokens=2048, prefix_caching=True)
    )
    return scheduler, FakeExecutor(spec)


def request(index: int, rng: random.Random, max_tokens: int) -> RequestSpec:
    """Return a request whose prompt shares its first half with an eighth of the others."""
    shared = [1000 + index % 8] * (PROMPT // 2)
    own = [rng.randrange(32_000) for _ in range(PROMPT // 2)]
    return RequestSpec(
        id=f"r{index}",
        prompt_ids=tuple(shared + own),
        sampling=SamplingParams(max_tokens=max_tokens, ignore_eos=True),
    )


def measure(running: int, steps: int, churn: bool, seed: int = 0) -> dict[str, float]:
    """Return the distribution of plan() + land() over ``steps`` steps.

    Args:
        running: sequences to keep running.
        steps: steps measured, after warm-up.
        churn: let sequences finish and be replaced.
        seed: of prompts and lengths.
    """
    rng = random.Random(seed)
    scheduler, body = build(running)
    waiting = running * steps // 8 if churn else running
    for index in range(waiting):
        length = rng.randrange(8, 41) if churn else steps + 10 * WARM_STEPS
        scheduler.submit(request(index, rng, length), float(index))
    samples, plans, full = [], [], 0
    now = float(waiting)
    gc.collect()
    gc.freeze()  # the waiting requests were made by this benchmark; collections need not walk them
    while len(samples) < steps:
        begun = time.perf_counter()
        plan = scheduler.plan(now)
        planned = time.perf_counter()
        assert plan is not None, "the workload ran out before enough steps were measured"
        result = body.collect(body.submit(plan))
        landing = time.perf_counter()
        scheduler.land(result, now)
        ended = time.perf_counter()
        scheduler.take_outputs()
        body.plans[:-1] = []
        now += 0.01
        full += len(plan.items) >= running * 0.9
        if full > WARM_STEPS:
            samples.append((planned - begun + ended - landing) * 1e6)
            plans.append((planned - begun) * 1e6)
    gc.unfreeze()
    return {
        "running": running,
        "steps": len(samples),
        "waiting_at_end": scheduler.stats().waiting,
        "median_us": percentile(samples, 50),
        "p90_us": percentile(samples, 90),
        "p99_us": percentile(samples, 99),
        "mean_us": sum(samples) / len(samples),
        "median_plan_us": percentile(plans, 50),
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--save", default="", help="JSON file, or folder for a dated one; default: print only"
    )
    parser.add_argument("--running", default="64,256", help="sequences running, default 64,256")
    parser.add_argument("--steps", type=int, default=300, help="steps measured, default 300")
    parser.add_argument("--note", default="", help="remark kept in the result, such as what else was running")
    args = parser.parse_args()
    figures = {}
    for running in map(int, args.running.split(",")):
        for name, churn in (("decode", False), ("churn", True)):
            figures[f"{name}_{running}"] = measure(running, args.steps, churn)
    rows = []
    for name, result in figures.items():
        budget = BUDGET_US.get(int(result["running"]))
        limit = f" (budget {budget:.0f})" if budget else ""
        rows.append((name, f"median {result['median_us']:.0f} us{limit}, p99 {result['p99_us']:.0f} us"))
    print_table("plan() + land()", rows)
    if args.save:
        path = result_path(args.save, "scheduler-overhead")
        settings = {"steps": args.steps, "prompt_tokens": PROMPT, "budget_us": BUDGET_US, "note": args.note}
        write_result(path, envelope("scheduler-overhead", settings) | {"results": figures})
        print(f"saved {path}")


if __name__ == "__main__":
    main()
