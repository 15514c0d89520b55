"""The executor that runs the model in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch

from penstock.config.settings import Config
from penstock.core.errors import StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import StepPlan, StepResult
from penstock.executors.assemble import assemble
from penstock.kernels.store import KVStore
from penstock.runtime.grammar.service import GrammarService
from penstock.runtime.memory import MemoryPlan, MemoryReport
from penstock.runtime.profile import Profiler
from penstock.runtime.resolve import Decision
from penstock.runtime.runner import Decoder, Forward, ModelRunner, Pending
from penstock.runtime.slots import SlotTable
from penstock.runtime.warmup import warm_up

Fault = Callable[[StepPlan], None]
"""Looks at each plan before it runs and may raise, to make the step fail (see `penstock.executors.faults`).
"""


class InlineExecutor:
    """Runs plans on a decoder in this process.

    On CPU a plan runs to its end inside `submit`. On CUDA `submit` only enqueues and `collect` waits, so
    that a step of pipeline depth 1 is prepared while the device works. A step that fails does so in
    `collect`.

    Args:
        decoder: the model.
        kv: its KV store, of ``spec.blocks`` blocks.
        spec: the capacities.
        device: where the model runs.
        fault: hook for tests.
        defer: whether `collect` rather than `submit` waits; by default on CUDA only.
        forward: see `ModelRunner`.
        grammars: compiles grammars, if sequences may have one.
    """

    def __init__(
        self,
        decoder: Decoder,
        kv: KVStore,
        spec: ExecutorSpec,
        *,
        device: torch.device | str = "cpu",
        fault: Fault | None = None,
        defer: bool | None = None,
        forward: Forward | None = None,
        grammars: GrammarService | None = None,
    ) -> None:
        device = torch.device(device)
        self._spec = spec
        self._fault = fault
        self._defer = device.type == "cuda" if defer is None else defer
        self.table = SlotTable(spec.slots, spec.max_model_len, spec.page_size, spec.blocks, spec.vocab_size)
        self.runner: ModelRunner | None = ModelRunner(decoder, kv, self.table, device, forward, grammars)
        self.grammars = grammars
        self._flying: deque[tuple[int, Pending | StepResult | StepFault]] = deque()
        self.config: Config | None = None
        """The resolved settings, if made by `build_executor`; so are the next two."""
        self.decisions: list[Decision] = []
        self.memory: MemoryPlan | None = None
        self.profiler: Profiler | None = None
        """Records steps when it is told to; None cannot."""

    def spec(self) -> ExecutorSpec:
        """Return the capacities."""
        return self._spec

    def submit(self, plan: StepPlan) -> int:
        """Start a plan; see `Executor.submit`. A failure is kept for `collect`.

        Raises:
            StepFault: the executor is closed.
        """
        if self.runner is None:
            raise StepFault("the executor is closed")
        if self.profiler is not None:
            self.profiler.step()
        outcome: Pending | StepResult | StepFault
        try:
            if self._fault is not None:
                self._call_fault(plan)
            outcome = self.runner.launch(plan)
            if not self._defer:
                outcome = self.runner.land(outcome)
        except StepFault as fault:
            outcome = fault
        self._flying.append((plan.ticket, outcome))
        return plan.ticket

    def _call_fault(self, plan: StepPlan) -> None:
        assert self._fault is not None and self.runner is not None
        try:
            self._fault(plan)
        except Exception as error:
            self.runner.forget(plan)
            raise StepFault(f"step {plan.ticket} failed: {type(error).__name__}: {error}") from error

    def collect(self, ticket: int) -> StepResult:
        """Wait for a plan; see `Executor.collect`.

        Plans submitted before it are forgotten: after a failed step the engine does not ask for those
        behind it.

        Raises:
            StepFault: the step failed.
            ValueError: no such plan is in flight.
        """
        while self._flying and self._flying[0][0] < ticket:
            _, outcome = self._flying.popleft()
            if isinstance(outcome, Pending) and self.runner is not None:
                self.runner.land(outcome)
        if not self._flying or self._flying[0][0] != ticket:
            raise ValueError(f"step {ticket} is not in flight")
        _, outcome = self._flying.popleft()
        if isinstance(outcome, Pending):
            if self.runner is None:
                raise StepFault("the executor is closed")
            outcome = self.runner.land(outcome)
        if isinstance(outcome, StepFault):
            raise outcome
        return outcome

    def memory_report(self) -> MemoryReport | None:
        """Compare the memory plan with what is resident now; None without a plan."""
        return self.memory.report() if self.memory is not None else None

    def close(self) -> None:
        """Let go of the model and its KV; idempotent."""
        if self.grammars is not None:
            self.grammars.close()
        if self.runner is not None and self.runner.masks is not None:
            self.runner.masks.close()
        self.runner = None
        self._flying.clear()


def build_executor(config: Config, *, fault: Fault | None = None) -> InlineExecutor:
    """Resolve the settings, load the model, plan the memory, allocate the KV cache and warm up.

    Args:
        config: settings, autos allowed; an empty model is the bundled one.
        fault: hook for tests, see `InlineExecutor`.

    Raises:
        ConfigError: the settings, the model or the machine do not fit together; names the field.
    """
    parts = assemble(config)
    executor = InlineExecutor(
        parts.decoder,
        parts.kv,
        parts.spec,
        device=parts.config.model.device,
        fault=fault,
        forward=parts.forward,
        grammars=parts.grammars,
    )
    executor.config, executor.decisions, executor.memory = parts.config, parts.decisions, parts.memory
    if config.observe.profile_folder:
        executor.profiler = Profiler(config.observe.profile_folder, config.observe.profile_seconds)
    assert executor.runner is not None
    warm_up(executor.runner, parts.spec)
    return executor
