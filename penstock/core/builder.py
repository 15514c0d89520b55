"""A plan in the making: owns the step's items and budgets, so that un-scheduling is one call."""

from __future__ import annotations

import msgspec

from penstock.core.cohort import Cohort
from penstock.core.plan import PlanShape, SlotInit, StepPlan, WorkItem
from penstock.core.policy import StepShape
from penstock.core.sequence import UNSENT, Sequence


class PlanBuilder:
    """Collects one work item per sequence under a step's budgets.

    Nothing is written to a sequence before `build`, so a dropped item leaves no trace.

    Args:
        shape: the step's budgets, already clamped.
    """

    def __init__(self, shape: StepShape) -> None:
        self.shape = shape
        self.tokens_left = shape.tokens
        self.prefill_left = min(shape.prefill_tokens, shape.tokens)
        self.decodes: dict[Sequence, int] = {}
        self.prefills: dict[Sequence, int] = {}
        self.cohort: Cohort | None = None
        self.pressed = False
        """Blocks ran out and a running sequence was preempted: no step to admit others in."""

    def __bool__(self) -> bool:
        """Whether there is any work."""
        return bool(self.decodes or self.prefills or (self.cohort is not None and self.cohort.rows))

    def fit(self, gap: int) -> int:
        """Rows that a prefill with ``gap`` tokens to compute may have in this step; 0 if none."""
        allowed = min(self.tokens_left, self.prefill_left)
        rows = min(gap, allowed, self.shape.chunk)
        if not self.shape.split and rows < gap and self.prefills:
            return 0
        return max(rows, 0)

    def decode(self, seq: Sequence) -> None:
        """Give a sequence its one row."""
        self.decodes[seq] = 1
        self.tokens_left -= 1

    def prefill(self, seq: Sequence, rows: int) -> None:
        """Give a sequence ``rows`` rows, as `fit` allowed."""
        self.prefills[seq] = rows
        self.tokens_left -= rows
        self.prefill_left -= rows

    def stage(self, cohort: Cohort) -> None:
        """Give a cohort its rows; they count in full, though they pass one group of layers."""
        self.cohort = cohort
        rows = sum(cohort.rows.values())
        self.tokens_left -= rows
        self.prefill_left -= rows

    def make_cohort(self, stages: int, layers: int) -> None:
        """Make the prefills a cohort, of which this step passes the first group of layers."""
        self.cohort, self.prefills = Cohort(self.prefills, stages, layers), {}

    def drop(self, seq: Sequence) -> None:
        """Take a sequence's item back, with its share of the budgets."""
        if self.decodes.pop(seq, 0):
            self.tokens_left += 1
        rows = self.prefills.pop(seq, 0)
        if self.cohort is not None:
            rows += self.cohort.rows.pop(seq, 0)
        self.tokens_left += rows
        self.prefill_left += rows

    def build(self, ticket: int, frees: tuple[int, ...]) -> tuple[StepPlan, list[tuple[Sequence, int]]]:
        """Freeze the plan and advance its sequences' planned state.

        Returns:
            The plan, and its sequences with their row counts in the order of the plan's items.
        """
        items: list[WorkItem] = []
        admits: list[SlotInit] = []
        members = list(self.decodes.items())
        members.extend(self.prefills.items())
        decodes = len(self.decodes)
        kv_tokens = kv_max = pairs = context = samples = rows = 0
        for i, (seq, n) in enumerate(members):
            start = seq.planned
            end = start + n
            sent, blocks = seq.table_sent, seq.blocks
            if sent == UNSENT:
                admits.append(describe(seq))
                sent = 0
            table = () if sent == len(blocks) else tuple(blocks[sent:])
            sample = end == seq.target
            items.append(WorkItem(seq.slot, start, n, sent, table, sample))
            seq.table_sent = len(blocks)
            seq.planned = end
            seq.ticket = ticket
            if sample:
                seq.target = end + 1
                samples += 1
            if i < decodes:
                kv_tokens += end
                if end > kv_max:
                    kv_max = end
            else:
                rows += n
                context += start
                pairs += n * start + n * (n + 1) // 2
        shape = PlanShape(
            decodes + rows, len(members), decodes, rows, kv_tokens, pairs, samples, context, kv_max
        )
        if self.cohort is not None and self.cohort.rows:
            shape = _add_cohort(self.cohort, ticket, items, admits, members, shape)
        return StepPlan(ticket, tuple(admits), tuple(items), frees, shape), members


def _add_cohort(
    cohort: Cohort,
    ticket: int,
    items: list[WorkItem],
    admits: list[SlotInit],
    members: list[tuple[Sequence, int]],
    shape: PlanShape,
) -> PlanShape:
    """Append a cohort's items, last in the plan, and return the step's shape with them.

    Before its last group of layers a member is said to have got no rows: nothing of it lands.
    """
    rows = pairs = context = samples = 0
    for seq, n in cohort.rows.items():
        start, sent = seq.planned, seq.table_sent
        if sent == UNSENT:
            admits.append(describe(seq))
            sent = 0
        sample = cohort.last and start + n == seq.target
        items.append(WorkItem(seq.slot, start, n, sent, tuple(seq.blocks[sent:]), sample, cohort.span))
        members.append((seq, n if cohort.last else 0))
        seq.table_sent = len(seq.blocks)
        seq.ticket = ticket
        if cohort.last:
            seq.planned = start + n
        if sample:
            seq.target += 1
            samples += 1
        rows += n
        context += start
        pairs += n * start + n * (n + 1) // 2
    first, stop = cohort.span
    return msgspec.structs.replace(
        shape,
        tokens=shape.tokens + rows,
        sequences=len(members),
        prefill_tokens=shape.prefill_tokens + rows,
        prefill_pairs=shape.prefill_pairs + pairs,
        samples=shape.samples + samples,
        prefill_context=shape.prefill_context + context,
        cohort_tokens=rows,
        cohort_layers=stop - first,
    )


def describe(seq: Sequence) -> SlotInit:
    """Return the full description of a sequence for its slot."""
    spec = seq.spec
    return SlotInit(
        seq.slot,
        seq.id,
        tuple(seq.tokens),
        seq.prompt_length,
        spec.sampling,
        spec.eos_ids,
        spec.adapter,
        spec.grammar,
    )
