"""Runs requests through the whole engine, and notes the logits that every sampled token was chosen from.

Legend: R sampled rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from penstock.core.executor import ExecutorSpec
from penstock.core.policy import Policies, StepShape
from penstock.core.request import RequestSpec
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore, MonotonicClock
from penstock.executors.inline import InlineExecutor
from penstock.policies.admit.unlimited import Unlimited
from penstock.policies.evict.lru import LRU
from penstock.policies.order.fcfs import FCFS
from penstock.policies.preempt.newest import Newest
from penstock.policies.reserve.known import Known
from penstock.policies.retain.none import NoRetention


@dataclass(frozen=True)
class ChunkOf:
    """A shape policy with a given chunk size; the step's budget is not the limit."""

    chunk: int

    def shape(self, view):
        return StepShape(tokens=4096, prefill_tokens=4096, chunk=self.chunk)


@dataclass
class Run:
    """What came out."""

    tokens: dict[str, list[int]] = field(default_factory=dict)
    logits: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict)
    """By request and position of the token."""
    outputs: dict[str, list] = field(default_factory=dict)
    engine: EngineCore | None = None


class Harness:
    """One decoder, as many engines as variants need.

    Args:
        decoder: the model.
        slots: sequences at once.
        max_len: longest sequence.
        page_size: tokens per block.
    """

    def __init__(self, decoder, *, slots=64, max_len=160, page_size=16):
        self.decoder, self.slots, self.max_len, self.page = decoder, slots, max_len, page_size

    def engine(self, *, chunk=4096, blocks=0, caching=True, depth=0, slots=0, fault=None) -> EngineCore:
        blocks = blocks or self.slots * (-(-self.max_len // self.page))
        spec = ExecutorSpec(
            slots=slots or self.slots,
            blocks=blocks,
            page_size=self.page,
            max_model_len=self.max_len,
            vocab_size=self.decoder.spec.vocab_size,
            pipeline_depth=depth,
        )
        kv = self.decoder.new_kv(blocks, self.page)
        executor = InlineExecutor(self.decoder, kv, spec, fault=fault, defer=bool(depth))
        policies = Policies(
            order=FCFS(),
            shape=ChunkOf(chunk),
            preempt=Newest(),
            evict=LRU(),
            admit=Unlimited(),
            reserve=Known(),
            retain=NoRetention(),
        )
        scheduler = Scheduler(
            SchedulerState(
                executor.spec(),
                policies,
                max_seqs=slots or self.slots,
                max_tokens=4096,
                prefix_caching=caching,
            )
        )
        return EngineCore(scheduler, executor, MonotonicClock(), depth)

    def run(self, requests: list[RequestSpec], *, at_a_time=0, watch=True, engine=None, **variant) -> Run:
        """Run requests to their ends; ``at_a_time`` submits that many per tick instead of all at once."""
        engine = engine or self.engine(**variant)
        run = Run(engine=engine)
        if watch:
            self._watch(engine.executor, run)
        todo = list(requests)
        while todo or engine.has_work():
            for request in todo[: at_a_time or len(todo)]:
                engine.submit(request)
            del todo[: at_a_time or len(todo)]
            for out in engine.tick():
                run.tokens.setdefault(out.request_id, []).extend(out.tokens)
                run.outputs.setdefault(out.request_id, []).append(out)
        return run

    def _watch(self, executor, run):
        runner = executor.runner
        sampler, table = runner.sampler, runner.table
        request_ids = table.request_ids

        class Watching:
            def __getattr__(self, name):
                return getattr(sampler, name)

            def __call__(self, logits_RV, slots_R, positions_R):
                kept_RV = logits_RV.clone()
                for row, (slot, position) in enumerate(
                    zip(slots_R.tolist(), positions_R.tolist(), strict=True)
                ):
                    run.logits[request_ids[slot], position] = kept_RV[row]
                return sampler(logits_RV, slots_R, positions_R)

        runner.sampler = Watching()
