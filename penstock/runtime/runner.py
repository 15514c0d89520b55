"""The model runner: applies a plan's differences, runs the model over the step's rows, samples, writes back.

A step has two halves. `launch` does everything that needs no result on the host; on CUDA it only enqueues
work. `land` waits for the sampled tokens and builds the `StepResult`. A plan may be launched before the one
before it has landed: tokens that are still on the device are carried over there, and only a request that
looks at its own history (penalties, bad words) makes the launch wait.

Whatever goes wrong, running the same work again gives the same tokens: keys and values are written anew,
noise depends on (seed, position) only, and a token is stored at the position that the plan names.

Legend: N rows, E hidden size, R sampled rows, V vocabulary.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
import numpy as np
import torch
from torch import Tensor

from penstock.core.errors import StepFault
from penstock.core.plan import ItemResult, SlotInit, StepPlan, StepResult, TokenLogprobs
from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore
from penstock.runtime.batch import StepBatch, build_batch
from penstock.runtime.grammar.masks import GrammarMasks, Source
from penstock.runtime.layered import LayeredForward, staged_items
from penstock.runtime.pooling import PooledRows
from penstock.runtime.sampler.draw import draw_native, draw_plain
from penstock.runtime.sampler.params import Ints, Uses
from penstock.runtime.sampler.prompts import score_prompt
from penstock.runtime.sampler.restrain import restrain_native, restrain_plain
from penstock.runtime.sampler.sampler import FAULTS, Sampled, Sampler
from penstock.runtime.slots import SlotTable

Forward = Callable[[StepRows, KVStore], Tensor]
"""Computes the hidden states of all rows, having written their keys and values."""


class Decoder(Protocol):
    """What the runner needs of a model; see `penstock.models.decoder.Decoder`."""

    def forward(self, rows: StepRows, kv: KVStore) -> Tensor:
        """Return hidden states of all rows ``[N, E]``, having written the rows' keys and values."""
        ...

    def logits(self, hidden_RE: Tensor, /) -> Tensor:
        """Return float32 logits ``[R, V]``."""
        ...


@dataclass(slots=True)
class Pending:
    """A step that was launched and has not landed."""

    plan: StepPlan
    batch: StepBatch | None
    started: float
    sampled: Sampled | None = None
    host: Tensor | None = None
    """int64 ``[2, R]``: tokens and fault codes, on the host once `event` has passed."""
    event: torch.cuda.Event | None = None
    prompt_scores: dict[int, list[TokenLogprobs] | str] = field(default_factory=dict)
    """By work item: scores of its prompt rows, or an error."""
    pooled: list[tuple[PooledRows, Tensor]] = field(default_factory=list)
    """Prompt rows that are pooled, and their sums, on the device."""
    written: bool = False
    seconds: float = 0.0


class ModelRunner:
    """Runs plans in ticket order.

    Args:
        decoder: the model.
        kv: its KV store.
        table: the slots; the runner is their only writer.
        device: where the model runs.
        forward: replaces ``decoder.forward``, e.g. by one that replays CUDA graphs.
        grammars: compiled grammars, if sequences may have one.
    """

    def __init__(
        self,
        decoder: Decoder,
        kv: KVStore,
        table: SlotTable,
        device: torch.device,
        forward: Forward | None = None,
        grammars: Source | None = None,
    ) -> None:
        self.decoder = decoder
        self.kv = kv
        self.table = table
        self.device = device
        self.forward = forward or decoder.forward
        self.layered = LayeredForward(decoder)
        self.masks = None if grammars is None else GrammarMasks(grammars, table.vocab_size)
        native = getattr(getattr(decoder, "ops", None), "name", "") == "native"
        by_kernel = (draw_native, restrain_native) if native else (draw_plain, restrain_plain)
        self.sampler = Sampler(table, self.masks, *by_kernel)
        self._carry = torch.zeros(len(table.live), dtype=torch.int64, device=device)
        """Last sampled token of each slot, on the device."""
        self._unwritten: deque[Pending] = deque()

    def run(self, plan: StepPlan) -> StepResult:
        """Run one step to its end.

        Raises:
            StepFault: the step failed as a whole; its slots must be described anew.
        """
        return self.land(self.launch(plan))

    def launch(self, plan: StepPlan) -> Pending:
        """Apply a plan and start its computation.

        Raises:
            StepFault: as for `run`.
        """
        pending = Pending(plan, None, time.perf_counter())
        try:
            with torch.inference_mode():
                self._launch(pending)
        except Exception as error:
            self.forget(plan)
            if isinstance(error, StepFault):
                raise
            raise StepFault(f"step {plan.ticket} failed: {type(error).__name__}: {error}") from error
        self._unwritten.append(pending)
        return pending

    def forget(self, plan: StepPlan) -> None:
        """Require a new description of every slot that the plan touched."""
        slots = {item.slot for item in plan.items} | {init.slot for init in plan.admits}
        self._free(slot for slot in slots if 0 <= slot < len(self.table.live))

    def _free(self, slots: Iterable[int]) -> None:
        gone = tuple(slots)
        self.table.free(gone)
        if self.masks is not None:
            self.masks.drop(gone)

    def _admit(self, init: SlotInit) -> None:
        self.table.admit(init)
        if self.masks is not None:
            problem = self.masks.admit(init)
        else:
            problem = None if init.grammar is None else f"{init.grammar.field}: not offered by this engine"
        if problem is not None:
            self.table.fail(init.slot, problem)

    def _launch(self, pending: Pending) -> None:
        plan, table = pending.plan, self.table
        self._free(plan.frees)
        for init in plan.admits:
            self._admit(init)
        table.apply_tables(plan.items)
        batch = pending.batch = build_batch(plan.items, table, self.device) if plan.items else None
        if batch is None:
            return
        if batch.carried_N.size:
            rows_N, slots_N = (
                torch.from_numpy(x).to(self.device) for x in (batch.carried_N, batch.carried_slots)
            )
            batch.rows.tokens_N[rows_N] = self._carry[slots_N]
        hidden_NE = self._hidden(plan, batch)
        if batch.sample_slots_R.size:
            self._sample(pending, batch, hidden_NE)
        for pooled in batch.pooled:
            if self._complete(plan, pooled.item):
                pending.pooled.append((pooled, pooled.total(hidden_NE)))
        for prompt in batch.prompts:
            if not self._complete(plan, prompt.item):
                continue
            pending.prompt_scores[prompt.item] = score_prompt(
                self.decoder.logits,
                hidden_NE[prompt.first_row : prompt.first_row + len(prompt.targets)],
                prompt.targets,
                int(table.sampling.prompt_logprobs[prompt.slot]),
                table.vocab_size,
            )

    def _complete(self, plan: StepPlan, item: int) -> bool:
        """Whether an item's rows leave this step through the last layer."""
        layers = plan.items[item].layers
        return layers is None or self.layered.ends(layers)

    def _hidden(self, plan: StepPlan, batch: StepBatch) -> Tensor:
        staged = staged_items(plan.items, batch.faulty, self.table.epoch)
        if staged:
            return self.layered(batch.rows, self.kv, staged)
        self.layered.clear()
        return self.forward(batch.rows, self.kv)

    def _sample(self, pending: Pending, batch: StepBatch, hidden_NE: Tensor) -> None:
        slots_R, positions_R = batch.sample_slots_R, batch.sample_positions_R
        if self.sampler.uses(slots_R) & Uses.HISTORY and (self.table.landed[slots_R] < positions_R).any():
            self._write_back()
        rows_R = batch.rows.sample_rows_R[: len(slots_R)]
        logits_RV = self.decoder.logits(hidden_NE[rows_R])
        sampled = pending.sampled = self.sampler(logits_RV, slots_R, positions_R)
        self._carry[torch.from_numpy(slots_R).to(self.device)] = sampled.tokens_R
        self.table.promise(slots_R, positions_R)
        both_2R = torch.stack((sampled.tokens_R, sampled.fault_R.to(torch.int64)))
        if self.device.type == "cpu":
            pending.host = both_2R
            return
        pending.host = torch.empty(both_2R.shape, dtype=torch.int64, pin_memory=True)
        pending.host.copy_(both_2R, non_blocking=True)
        pending.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        pending.event.record()

    def _write_back(self, last: Pending | None = None) -> None:
        """Bring the tokens of launched steps to the host, in order, up to ``last`` or all."""
        while self._unwritten and not (last is not None and last.written):
            pending = self._unwritten.popleft()
            pending.written = True
            if pending.event is not None:
                pending.event.synchronize()
            pending.seconds = time.perf_counter() - pending.started
            if pending.batch is None or pending.host is None:
                continue
            batch = pending.batch
            tokens_R, fault_R = pending.host.numpy()
            fine_R = fault_R == 0
            slots_R, epochs_R = batch.sample_slots_R, batch.sample_epochs_R
            self.table.write(
                slots_R[fine_R], batch.sample_positions_R[fine_R], epochs_R[fine_R], tokens_R[fine_R]
            )
            self._follow(slots_R[fine_R], epochs_R[fine_R], tokens_R[fine_R])
            for r in np.flatnonzero(~fine_R):
                slot = int(slots_R[r])
                if self.table.epoch[slot] == epochs_R[r]:
                    self.table.fail(slot, FAULTS[int(fault_R[r])])

    def _follow(self, slots_R: Ints, epochs_R: Ints, tokens_R: Ints) -> None:
        """Take grammars on by tokens that have landed; their next masks are made from here on."""
        if self.masks is not None:
            same_R = self.table.epoch[slots_R] == epochs_R
            self.masks.accept(slots_R[same_R].tolist(), tokens_R[same_R].tolist())

    def land(self, pending: Pending) -> StepResult:
        """Wait for a launched step and return its result.

        Raises:
            StepFault: as for `run`.
        """
        try:
            self._write_back(pending)
            return self._result(pending)
        except Exception as error:
            self.forget(pending.plan)
            raise StepFault(f"step {pending.plan.ticket} failed: {type(error).__name__}: {error}") from error

    def _result(self, pending: Pending) -> StepResult:
        plan, batch = pending.plan, pending.batch
        items = [ItemResult()] * len(plan.items)
        faulty = batch.faulty if batch is not None else range(len(plan.items))
        for i in faulty:
            items[i] = ItemResult(error=self.table.fault_text[plan.items[i].slot])
        if batch is not None and pending.host is not None and pending.sampled is not None:
            tokens, faults = pending.host.tolist()
            logprobs = pending.sampled.logprobs()
            for r, i in enumerate(batch.sample_items_R.tolist()):
                if faults[r]:
                    items[i] = ItemResult(error=FAULTS[faults[r]])
                elif r in pending.sampled.over:
                    items[i] = _over(pending.sampled.over[r], logprobs.get(r))
                elif r in logprobs:
                    items[i] = ItemResult((tokens[r],), (logprobs[r],))
                else:
                    items[i] = ItemResult((tokens[r],))
        for i, scores in pending.prompt_scores.items():
            if isinstance(scores, str):
                items[i] = ItemResult(error=scores)
            elif items[i].error is None:
                items[i] = msgspec.structs.replace(items[i], prompt_logprobs=tuple(scores))
        for rows, total_E in pending.pooled:
            if items[rows.item].error is None:
                items[rows.item] = msgspec.structs.replace(items[rows.item], pooled=rows.packed(total_E))
        return StepResult(plan.ticket, tuple(items), pending.seconds)


def _over(stop: int, logprobs: TokenLogprobs | None) -> ItemResult:
    """The end of a grammar: a stop id if the model has one, else nothing."""
    scores = None if logprobs is None else (logprobs,)
    return ItemResult((), ended=True) if stop < 0 else ItemResult((stop,), scores, ended=True)
