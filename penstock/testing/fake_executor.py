"""An executor without a model: follows the protocol to the letter and checks that the brain does too."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from penstock.core.errors import StepFault
from penstock.core.executor import ExecutorSpec
from penstock.core.plan import ItemResult, SlotInit, StepPlan, StepResult, WorkItem
from penstock.testing.clock import ManualClock


class _Slot:
    def __init__(self, init: SlotInit) -> None:
        self.init = init
        self.failed = False
        self.tokens = list(init.tokens)
        self.table: list[int] = []
        self.passed: tuple[int, int, int] | None = None
        """Start and length of rows under way through the layers, and the layers behind them."""


def next_token(tokens: list[int], vocab: int) -> int:
    """The fake model: a function of the whole sequence, so that a wrong context shows in the output."""
    h = 2166136261
    for token in tokens:
        h = ((h ^ (token + 1)) * 16777619) & 0xFFFFFFFF
    return h % vocab


class FakeExecutor:
    """Stores *tokens* in its pages where a real executor stores keys and values, and reads them back.

    Sampling depends on what the pages hold, so reusing a block too early, a wrong block table or a hole in
    the computed range changes the output or raises `AssertionError`.

    Args:
        spec: the capacities to pretend.
        clock: advanced by `seconds(plan)` at each collect, if given.
        seconds: duration of a plan, for the clock.
        fault: called with each plan at collect; whatever it raises becomes a StepFault.
        poison: request ids whose items report an error of their own.
    """

    def __init__(
        self,
        spec: ExecutorSpec,
        *,
        clock: ManualClock | None = None,
        seconds: Callable[[StepPlan], float] | None = None,
        fault: Callable[[StepPlan], None] | None = None,
        poison: frozenset[str] = frozenset(),
    ) -> None:
        self._spec = spec
        self._clock = clock
        self._seconds = seconds or (lambda plan: 0.01)
        self._fault = fault
        self._poison = poison
        self._slots: dict[int, _Slot] = {}
        self._pages: dict[int, dict[int, int]] = {}
        self._done: deque[StepResult | StepFault] = deque()
        self._order: deque[tuple[int, StepPlan]] = deque()
        self.plans: list[StepPlan] = []

    def spec(self) -> ExecutorSpec:
        """Return the pretended capacities."""
        return self._spec

    def submit(self, plan: StepPlan) -> int:
        """Run the plan at once; the result waits for `collect`."""
        assert not self.plans or plan.ticket == self.plans[-1].ticket + 1, "tickets must be consecutive"
        self.plans.append(plan)
        for slot in plan.frees:
            self._slots.pop(slot, None)
        for init in plan.admits:
            self._slots[init.slot] = _Slot(init)
        try:
            if any(isinstance(result, StepFault) for result in self._done):
                raise StepFault("built on a step that failed")
            if self._fault is not None:
                self._fault(plan)
            self._done.append(StepResult(plan.ticket, tuple(self._run(item) for item in plan.items)))
        except AssertionError:
            raise
        except Exception as e:
            self._done.append(StepFault(str(e)))
        self._order.append((plan.ticket, plan))
        return plan.ticket

    def _run(self, item: WorkItem) -> ItemResult:
        slot, page = self._slots[item.slot], self._spec.page_size
        if slot.failed:
            return ItemResult(error="failed in an earlier step")
        del slot.table[item.table_from :]
        assert len(slot.table) == item.table_from, "block-table entries were left out"
        slot.table.extend(item.table)
        end = item.start + item.length
        assert item.length > 0 and end <= len(slot.tokens), "work beyond the known tokens"
        assert end <= len(slot.table) * page, "work beyond the block table"
        whole = item.layers is None or item.layers[1] == self._spec.layers
        for position in range(item.start, end) if whole else ():
            block = self._pages.setdefault(slot.table[position // page], {})
            block[position % page] = slot.tokens[position]
        if slot.init.request_id in self._poison:
            slot.failed = True
            return ItemResult(error="poisoned")
        if not self._pass_layers(slot, item):
            assert not item.sample, "a sample was asked for before the last layer"
            return ItemResult()
        if not item.sample:
            return ItemResult()
        assert end == len(slot.tokens), "a sample was asked for before the last known token"
        seen = [self._pages.get(slot.table[p // page], {}).get(p % page, -1) for p in range(end)]
        assert seen == slot.tokens, f"KV of {slot.init.request_id} does not hold its tokens"
        token = next_token(seen, self._spec.vocab_size)
        slot.tokens.append(token)
        return ItemResult((token,))

    def _pass_layers(self, slot: _Slot, item: WorkItem) -> bool:
        """Check that each (row, layer) is computed once, in order; return whether all layers are behind."""
        if item.layers is None:
            assert slot.passed is None, "an item under way through the layers was given all of them"
            return True
        first, stop = item.layers
        assert first < stop <= self._spec.layers, "layers that the model does not have"
        behind = slot.passed or (item.start, item.length, 0)
        assert behind == (item.start, item.length, first), "a layer was left out or came twice"
        slot.passed = None if stop == self._spec.layers else (item.start, item.length, stop)
        return slot.passed is None

    def collect(self, ticket: int) -> StepResult:
        """Return the oldest result and move the clock."""
        due, plan = self._order.popleft()
        assert ticket == due, "results must be collected in order"
        if self._clock is not None:
            self._clock.advance(self._seconds(plan))
        result = self._done.popleft()
        if isinstance(result, StepFault):
            raise result
        return result

    def close(self) -> None:
        """Nothing to release."""
