"""Random populations through the real scheduler on a fake model, step by step, for properties of shapes.

The fake model stores tokens in its pages and reads them back, and raises `AssertionError` when a block is
reused too early, a token is left out, or a row passes a layer twice or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from penstock.core.plan import StepPlan
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor

LAYERS = 6


class Step(NamedTuple):
    """One step of a run."""

    plan: StepPlan
    items: dict[str, int]
    """Index of the plan's item by request."""
    due: frozenset[str]
    """Requests that could decode before the step and neither lost their place in it nor ran out of blocks."""


class Request(NamedTuple):
    """One request of a run."""

    prompt: int
    output: int
    arrival: int
    """Step before which it is submitted."""


def population(rng: np.random.Generator, longest: int = 60) -> list[Request]:
    """Draw up to twelve requests."""
    count = int(rng.integers(2, 13))
    return [
        Request(int(rng.integers(1, longest)), int(rng.integers(1, 16)), int(rng.integers(0, 30)))
        for _ in range(count)
    ]


def steps(
    requests: list[Request], shape: str, *, budget: int, blocks: int, slots: int = 4, caching: bool = False
) -> Iterator[Step]:
    """Run requests to their ends and yield every step.

    Args:
        requests: who arrives when; prompts of different requests share no prefix.
        shape: the policy.
        budget: the engine's token budget.
        blocks: pages of four tokens; few of them make preemption common.
        slots: sequences at once.
        caching: whether prompt prefixes (of preempted requests) are reused.

    Raises:
        AssertionError: the fake model found a fault, or somebody starved.
    """
    spec = make_spec(slots=slots, blocks=blocks, page_size=4, max_model_len=4 * blocks, layers=LAYERS)
    scheduler = make_scheduler(spec, max_tokens=budget, order="fcfs", prefix_caching=caching, shape=shape)
    executor, state = FakeExecutor(spec), scheduler.state
    waiting = sorted(enumerate(requests), key=lambda entry: entry[1].arrival)
    for number in range(200 * len(requests) + 2000):
        now = 1.0 + number
        while waiting and waiting[0][1].arrival <= number:
            n, request = waiting.pop(0)
            ids = [(7 * n + i) % 50 for i in range(request.prompt)]
            scheduler.submit(make_request(f"r{n}", ids, max_tokens=request.output, ignore_eos=True), now)
        ready = {
            seq.id: seq.preemptions
            for seq in state.running
            if seq.target - seq.planned == 1 and seq.planned >= seq.prompt_length
        }
        plan = scheduler.plan(now)
        if plan is None:
            if not waiting and not state.sequences:
                return
            continue
        members = [seq.id for seq, _ in state.in_flight[-1][1]]
        last = state.running.ranked(now)[-1:]
        stuck = {seq.id for seq in last if seq.planned == seq.room and not state.kv.available}
        due = {name for name, before in ready.items() if state.sequences[name].preemptions == before}
        yield Step(plan, {name: i for i, name in enumerate(members)}, frozenset(due - stuck))
        executor.submit(plan)
        scheduler.land(executor.collect(plan.ticket), now)
        scheduler.take_outputs()
    raise AssertionError(f"{len(state.sequences)} requests starved under {shape}")
