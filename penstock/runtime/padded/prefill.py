"""Prefill of a batch of prompts in rows of one length: fully padded, ordered by length, or prepacked.

Legend: P prompts, B rows, T tokens per row, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from penstock.core.errors import ConfigError
from penstock.kernels.placement import Local
from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore
from penstock.models.decoder import Decoder
from penstock.runtime.padded.attention import PaddedAttention, PaddedPlan
from penstock.runtime.padded.packing import by_length, first_fit_decreasing

Prompt = Sequence[int]


@dataclass(frozen=True, slots=True)
class Prefilled:
    """What came of a batch."""

    logits_PV: Tensor
    """float32, of each prompt's last token."""
    rows: int
    """Rows (tokens and padding) that passed the layers."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows of one length; ``owner_BT`` names the prompt of each place, -1 for padding."""

    tokens_BT: Tensor
    positions_BT: Tensor
    owner_BT: Tensor


class PaddedPrefill:
    """A static-shape executor of prefills on a decoder's own layers.

    Args:
        decoder: the model; its weights are shared.

    Raises:
        ConfigError: the decoder's attention axes do not work on padded rows.
    """

    def __init__(self, decoder: Decoder) -> None:
        stack, backend = decoder.stack, PaddedAttention()
        reason = backend.refusal(stack.need)
        if reason is None and stack.planner.name != "all":
            reason = f"row planner {stack.planner.name} leaves rows out"
        if reason is not None:
            raise ConfigError("model", f"padded prefill: {reason}")
        self._decoder = copy.copy(decoder)
        self._decoder.stack = replace(stack, backend=backend, placement=Local(backend))

    @torch.inference_mode()
    def padded(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Every prompt in a row of its own, all as long as the longest."""
        lengths = [len(prompt) for prompt in prompts]
        batch = self._lay_out(prompts, [[n] for n in range(len(prompts))], max(lengths))
        hidden_NE, _ = self._run(batch)
        hidden_BTE = hidden_NE.view(*batch.tokens_BT.shape, -1)
        last_PE = torch.stack([hidden_BTE[n, length - 1] for n, length in enumerate(lengths)])
        return Prefilled(self._decoder.logits(last_PE), batch.tokens_BT.numel())

    @torch.inference_mode()
    def ordered(self, prompts: Sequence[Prompt], batch: int) -> Prefilled:
        """Ordered by length, in batches that are padded each to its own longest prompt."""
        found: dict[int, Tensor] = {}
        rows = 0
        for members in by_length([len(prompt) for prompt in prompts], batch):
            part = self.padded([prompts[n] for n in members])
            found |= dict(zip(members, part.logits_PV, strict=True))
            rows += part.rows
        return Prefilled(torch.stack([found[n] for n in range(len(prompts))]), rows)

    @torch.inference_mode()
    def packed(self, prompts: Sequence[Prompt]) -> Prefilled:
        """Several prompts share a row: positions begin anew, and a prompt sees itself only.

        As in the authors' code each prompt's last token stays out; after the rows have run, their keys and
        values are dealt to one row per prompt, and the last tokens run as an ordinary first decode step.
        """
        bodies = [prompt[:-1] for prompt in prompts]
        some = [n for n, body in enumerate(bodies) if body]
        longest = max(len(prompt) for prompt in prompts)
        own = self._decoder.new_kv(len(prompts), longest)
        rows = len(prompts)
        if some:
            capacity = max(len(body) for body in bodies)
            bins = [
                [some[i] for i in members]
                for members in first_fit_decreasing([len(bodies[n]) for n in some], capacity)
            ]
            batch = self._lay_out(bodies, bins, capacity)
            _, shared = self._run(batch)
            self._deal(shared, own, bodies, bins)
            rows += batch.tokens_BT.numel()
        return Prefilled(self._last(prompts, own, longest), rows)

    def _lay_out(self, prompts: Sequence[Prompt], bins: Sequence[Sequence[int]], width: int) -> _Batch:
        shape, device = (len(bins), width), self._decoder.device
        tokens_BT, positions_BT = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        owner_BT = torch.full(shape, -1, dtype=torch.int64)
        for row, members in enumerate(bins):
            at = 0
            for n in members:
                end = at + len(prompts[n])
                tokens_BT[row, at:end] = torch.tensor(list(prompts[n]))
                positions_BT[row, at:end] = torch.arange(end - at)
                owner_BT[row, at:end] = n
                at = end
        return _Batch(tokens_BT.to(device), positions_BT.to(device), owner_BT.to(device))

    def _run(self, batch: _Batch) -> tuple[Tensor, KVStore]:
        """Run rows under a causal, block-diagonal mask; padding sees padding."""
        rows, width = batch.tokens_BT.shape
        store = self._decoder.new_kv(rows, width)
        places_T = torch.arange(width, device=batch.tokens_BT.device)
        same_BTT = batch.owner_BT[:, :, None] == batch.owner_BT[:, None, :]
        seen_BTT = same_BTT & (places_T <= places_T[:, None])
        step = self._step(batch.tokens_BT, batch.positions_BT, places_T.expand(rows, -1), [width] * rows)
        plan = PaddedPlan(step, width, seen_BTT, places_T.expand(rows, -1))
        return self._decoder.forward(step, store, plan), store

    def _deal(
        self, shared: KVStore, own: KVStore, bodies: Sequence[Prompt], bins: Sequence[Sequence[int]]
    ) -> None:
        """Copy each prompt's keys and values out of its bin's row into a row of its own."""
        for layer in self._decoder.stack.layers:
            if layer.owner != layer.index:
                continue
            source, goal = shared.layer(layer.index).planes, own.layer(layer.index).planes
            for row, members in enumerate(bins):
                at = 0
                for n in members:
                    size = len(bodies[n])
                    for name, plane in goal.items():
                        plane[n, :, :size] = source[name][row, :, at : at + size]
                    at += size

    def _last(self, prompts: Sequence[Prompt], own: KVStore, width: int) -> Tensor:
        """Run every prompt's last token against its own row of keys and values; return their logits."""
        device = self._decoder.device
        tokens_P1 = torch.tensor([[prompt[-1]] for prompt in prompts], device=device)
        places_P1 = torch.tensor([[len(prompt) - 1] for prompt in prompts], device=device)
        step = self._step(tokens_P1, places_P1, places_P1, [len(prompt) for prompt in prompts], width)
        seen_P1T = torch.arange(width, device=device) <= places_P1[:, :, None]
        hidden_PE = self._decoder.forward(step, own, PaddedPlan(step, width, seen_P1T, places_P1))
        return self._decoder.logits(hidden_PE)

    @staticmethod
    def _step(
        tokens_BQ: Tensor, positions_BQ: Tensor, places_BQ: Tensor, kv_lens: list[int], width: int = 0
    ) -> StepRows:
        rows, queries = tokens_BQ.shape
        numbers_B1 = torch.arange(rows, device=tokens_BQ.device)[:, None]
        return StepRows(
            tokens_N=tokens_BQ.flatten(),
            positions_N=positions_BQ.flatten(),
            kv_slots_N=(numbers_B1 * (width or queries) + places_BQ).flatten(),
            block_table_SB=numbers_B1.to(torch.int32),
            q_lens=[queries] * rows,
            kv_lens=kv_lens,
            sample_rows_R=numbers_B1[:0, 0],
        )
