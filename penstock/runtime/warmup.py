"""A first step before the first request: libraries pick their kernels and buffers, and the model proves it
runs.
"""

from __future__ import annotations

from penstock.core.errors import StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import PlanShape, SlotInit, StepPlan, WorkItem
from penstock.core.request import SamplingParams
from penstock.runtime.runner import ModelRunner

_ROWS = 16
"""Rows of the prefill: enough to take the path of a chunk, few enough for a large model on a CPU."""


def warm_up(runner: ModelRunner, spec: ExecutorSpec) -> None:
    """Run a short prefill and a decode in slot 0, and forget them; the pages they wrote belong to nobody.

    Raises:
        StepFault: the model cannot run a step.
    """
    rows = max(1, min(_ROWS, spec.max_model_len - 1, spec.blocks * spec.page_size - 1))
    init = SlotInit(0, "warm-up", (0,) * rows, rows, SamplingParams(seed=1, top_p=0.9), ())
    pages = tuple(range(-(-(rows + 1) // spec.page_size)))
    shape = PlanShape(rows, 1, 0, rows, 0, rows * (rows + 1) // 2, 1)
    plans = [
        StepPlan(-2, (init,), (WorkItem(0, 0, rows, 0, pages, True),), (), shape),
        StepPlan(-1, (), (WorkItem(0, rows, 1, 0, (), True),), (), PlanShape(1, 1, 1, 0, rows + 1, 0, 1)),
    ]
    for plan in plans:
        result = runner.run(plan)
        if result.items[0].error is not None:
            raise StepFault(f"warm-up: {result.items[0].error}")
    runner.table.free([0])
