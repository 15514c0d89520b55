"""A body made of a cost model: every step takes the time that the model gives its shape."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from penstock.core.clock import Clock
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import ItemResult, PlanShape, SlotInit, StepPlan, StepResult
from penstock.core.policy import StepCost
from penstock.sim.resource import Lane
from penstock.workload.request import STREAM_TOKENS

EOS = 0
"""The id that ends an answer before its limit; streams of token ids start above it."""
_NOTHING = ItemResult()


class Answer(NamedTuple):
    """What a request will generate; policies are not shown it."""

    tokens: int
    stream: int


class HostCost(Protocol):
    """Time that the engine's CPU side needs per step."""

    def seconds(self, plan: StepPlan) -> float:
        """Return the seconds between the landing that a plan waits for and its start on the device."""
        ...


class StepSeen(NamedTuple):
    """One step, for observers (traces, calibration checks)."""

    plan: StepPlan
    planned: float
    start: float
    end: float


class SimExecutor:
    """Implements `penstock.core.executor.Executor` in virtual time.

    `collect` does not wait: the caller sees to it that the clock stands at `due(ticket)`.

    Args:
        spec: capacities of the pretended device.
        cost: seconds of a step by its shape.
        clock: virtual time.
        answers: what each live request will generate, by id.
        host: CPU time charged before each step; None charges nothing.
        observe: called with every step as it is submitted.
    """

    def __init__(
        self,
        spec: ExecutorSpec,
        cost: StepCost,
        clock: Clock,
        answers: dict[str, Answer],
        host: HostCost | None = None,
        observe: Callable[[StepSeen], None] | None = None,
    ) -> None:
        self._spec = spec
        self._cost = cost
        self._clock = clock
        self._answers = answers
        self._host = host
        self._observe = observe
        self.device = Lane()
        self._slots: list[tuple[int, int, int, bool]] = [(0, 0, 0, False)] * spec.slots
        """Of each slot: prompt length, tokens it will generate, id of the first, whether an eos ends it."""
        self._flight: deque[tuple[int, float, StepResult]] = deque()

    def spec(self) -> ExecutorSpec:
        """Return the capacities."""
        return self._spec

    def seconds(self, shape: PlanShape) -> float:
        """Return the device seconds of a step."""
        return self._cost.step(shape)

    def submit(self, plan: StepPlan) -> int:
        """Queue the plan on the device."""
        for init in plan.admits:
            self._admit(init)
        now = self._clock.now()
        ready = now + self._host.seconds(plan) if self._host is not None else now
        seconds = self._cost.step(plan.shape)
        end = self.device.reserve(ready, seconds)
        if self._observe is not None:
            self._observe(StepSeen(plan, now, end - seconds, end))
        self._flight.append((plan.ticket, end, self._result(plan, seconds)))
        return plan.ticket

    def _admit(self, init: SlotInit) -> None:
        answer = self._answers[init.request_id]
        ends = answer.tokens < init.sampling.max_tokens
        self._slots[init.slot] = (init.prompt_length, answer.tokens, answer.stream * STREAM_TOKENS, ends)

    def _result(self, plan: StepPlan, seconds: float) -> StepResult:
        """Make up each sampled token: the next of its answer's stream, or the eos at its end."""
        slots, items = self._slots, []
        for item in plan.items:
            if not item.sample:
                items.append(_NOTHING)
                continue
            prompt, tokens, first, ends = slots[item.slot]
            n = item.start + item.length - prompt
            items.append(ItemResult((EOS if ends and n + 1 >= tokens else first + n,)))
        return StepResult(plan.ticket, tuple(items), seconds)

    def due(self, ticket: int) -> float:
        """Return when the oldest step, which must be ``ticket``, is done."""
        oldest, end, _ = self._flight[0]
        assert oldest == ticket, "steps are collected in order"
        return end

    def collect(self, ticket: int) -> StepResult:
        """Return the oldest step's result."""
        return self._flight.popleft()[2]

    def close(self) -> None:
        """Nothing to release."""
