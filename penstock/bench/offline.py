"""Drives an `EngineCore` in this process, without a server."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from penstock.bench.workload import Item
from penstock.core.errors import Overloaded, PenstockError
from penstock.core.executor import Executor, ExecutorSpec
from penstock.core.output import FinishReason, Output
from penstock.core.plan import PlanShape, StepPlan, StepResult
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.core import EngineCore
from penstock.workload.metrics.records import Record


class MeteredExecutor:
    """Passes everything to another executor and keeps the shape and the duration of every step.

    Args:
        inner: the executor that does the work.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._pending: deque[tuple[PlanShape, float]] = deque()
        self.steps: list[tuple[PlanShape, float]] = []
        """Shape and seconds, from submission to collection, in order."""

    def spec(self) -> ExecutorSpec:
        """Return the inner capacities."""
        return self._inner.spec()

    def submit(self, plan: StepPlan) -> int:
        """Note the time and pass the plan on."""
        ticket = self._inner.submit(plan)
        self._pending.append((plan.shape, time.perf_counter()))
        return ticket

    def collect(self, ticket: int) -> StepResult:
        """Collect and note how long the step took; the executor's own figure is preferred."""
        result = self._inner.collect(ticket)
        shape, begun = self._pending.popleft()
        self.steps.append((shape, result.seconds or time.perf_counter() - begun))
        return result

    def close(self) -> None:
        """Close the inner executor."""
        self._inner.close()


@dataclass(slots=True)
class OfflineRun:
    """Records of all requests, in order, and the seconds from the first submission to the last token."""

    records: list[Record]
    duration: float


@dataclass(slots=True)
class _Feed:
    """Requests on their way through the engine."""

    engine: EngineCore
    waiting: deque[RequestSpec]
    records: dict[str, Record] = field(default_factory=dict)

    def push(self, arrival: float) -> None:
        """Submit until the engine's queue is full."""
        while self.waiting:
            try:
                self.engine.submit(self.waiting[0])
            except Overloaded:
                return
            spec = self.waiting.popleft()
            wanted = spec.sampling.max_tokens
            self.records[spec.id] = Record(arrival, len(spec.prompt_ids), expected_tokens=wanted)

    def take(self, output: Output, now: float) -> bool:
        """Note an output; return whether it ended its request."""
        record = self.records[output.request_id]
        if output.tokens:
            record.token_times.append(now)
            record.output_tokens += len(output.tokens)
        record.cached_tokens = output.cached_tokens or record.cached_tokens
        if output.finish is None:
            return False
        record.finish_reason = output.finish.reason.value
        if output.finish.reason in (FinishReason.ERROR, FinishReason.ABORT):
            record.error = output.finish.detail or record.finish_reason
        return True


def run_offline(
    engine: EngineCore,
    items: Sequence[Item],
    on_done: Callable[[Record], None] | None = None,
    *,
    temperature: float = 0.0,
    prefix: str = "bench",
) -> OfflineRun:
    """Put all items on an idle engine at once and tick until every one has ended at its exact length.

    Args:
        engine: idle; owned by this call until it returns.
        items: with token ids as prompts; their due times are not used.
        on_done: called with each record as its request ends.
        temperature: 0 is greedy.
        prefix: of the request ids.

    Raises:
        InvalidRequest: a request does not fit the engine.
        PenstockError: the engine stopped working on requests that are not finished.
    """
    feed = _Feed(engine, deque(_specs(items, temperature, prefix)))
    start = time.perf_counter()
    feed.push(start)
    while feed.waiting or engine.has_work():
        if not engine.has_work():
            raise PenstockError("the admit policy refuses requests although the engine is idle; see --admit")
        outputs = engine.tick()
        now = time.perf_counter()
        ended = [feed.records[output.request_id] for output in outputs if feed.take(output, now)]
        for record in ended:
            if on_done:
                on_done(record)
        if ended and feed.waiting:
            feed.push(start)
    return OfflineRun(list(feed.records.values()), time.perf_counter() - start)


def _specs(items: Sequence[Item], temperature: float, prefix: str) -> list[RequestSpec]:
    specs = []
    for index, item in enumerate(items):
        ids = tuple(token for token in item.prompt if isinstance(token, int))
        if not ids or len(ids) != len(item.prompt):
            raise PenstockError("the offline benchmarks take prompts of token ids; see --dataset-name")
        sampling = SamplingParams(
            max_tokens=item.output_tokens or 16, temperature=temperature, seed=index, ignore_eos=True
        )
        specs.append(RequestSpec(id=f"{prefix}-{index}", prompt_ids=ids, sampling=sampling))
    return specs
