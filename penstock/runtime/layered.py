"""Steps in which some sequences pass one group of layers only (layered prefill).

Decodes pass every layer; a cohort's rows join them for the layers of its group, from the hidden states that
the step before left, which are kept here between steps (rows x hidden size, in the model's dtype).

Legend: N rows of the step, C rows of the cohort, E hidden size, W what the output head takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from penstock.core.errors import StepFault
from penstock.core.plan import WorkItem
from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore


class LayeredDecoder(Protocol):
    """What this needs of a model; see `penstock.models.decoder.Decoder`."""

    spec: Any

    def embed(self, rows: StepRows) -> Tensor:
        """Return hidden states before the first layer."""
        ...

    def pass_layers(self, x_NE: Tensor, rows: StepRows, kv: KVStore, first: int, stop: int) -> Tensor:
        """Take rows through some layers."""
        ...

    def finish(self, x_NE: Tensor) -> Tensor:
        """Return what the output head takes."""
        ...


class Staged(NamedTuple):
    """A sequence of the step that passes some layers only."""

    slot: int
    epoch: int
    """Of the slot: changes when the slot is described anew."""
    start: int
    length: int
    layers: tuple[int, int]


class _Held(NamedTuple):
    staged: Staged
    x_CE: Tensor


def staged_items(
    items: Sequence[WorkItem], faulty: Sequence[int], epochs: Sequence[int] | Any
) -> list[Staged]:
    """Return the items that pass some layers only and whose sequence is not faulty, in order.

    Raises:
        StepFault: they are not the last of the step, or differ in their layers.
    """
    if not items or items[-1].layers is None:
        return []
    first = next(i for i, item in enumerate(items) if item.layers is not None)
    if any(item.layers != items[-1].layers for item in items[first:]):
        raise StepFault("items that pass some layers only must come last and pass the same")
    return [
        Staged(item.slot, int(epochs[item.slot]), item.start, item.length, item.layers)
        for i, item in enumerate(items[first:], first)
        if item.layers is not None and i not in faulty
    ]


class LayeredForward:
    """The decoder's forward, for steps with a cohort.

    Args:
        decoder: the model; asked for its layers only when a cohort comes.
    """

    def __init__(self, decoder: Any) -> None:
        self._decoder: LayeredDecoder = decoder
        self._held: dict[int, _Held] = {}

    def ends(self, layers: tuple[int, int]) -> bool:
        """Return whether a group of layers is the last."""
        return layers[1] == len(self._decoder.spec.blocks)

    def clear(self) -> None:
        """Forget every cohort."""
        self._held.clear()

    def __call__(self, rows: StepRows, kv: KVStore, staged: Sequence[Staged]) -> Tensor:
        """Return hidden states of all rows ``[N, W]``; those of a cohort are zero before its last group.

        Args:
            rows: the step; the staged sequences come last.
            kv: the store.
            staged: which they are.

        Raises:
            StepFault: a sequence skips a group of layers, or was not run in the step before.
        """
        decoder, (first, stop) = self._decoder, staged[0].layers
        last = self.ends(staged[0].layers)
        others = _head(rows, len(rows.q_lens) - len(staged))
        count = others.tokens_N.shape[0]
        if first == 0:
            x_NE = decoder.embed(rows)
        else:
            x_CE = self._resume(staged)
            x_NE = x_CE
            if count:
                x_NE = decoder.pass_layers(decoder.embed(others), others, kv, 0, first)
                x_NE = torch.cat((x_NE, x_CE))
        x_NE = decoder.pass_layers(x_NE, rows, kv, first, stop)
        self.clear()
        if last:
            return decoder.finish(x_NE)
        parts = torch.split(x_NE[count:].clone(), [item.length for item in staged])
        self._held = {item.slot: _Held(item, x_CE) for item, x_CE in zip(staged, parts, strict=True)}
        if not count:
            return x_NE.new_zeros(rows.tokens_N.shape[0], 1)
        layers = len(decoder.spec.blocks)
        hidden_NW = decoder.finish(decoder.pass_layers(x_NE[:count], others, kv, stop, layers))
        padding_CW = hidden_NW.new_zeros(rows.tokens_N.shape[0] - count, hidden_NW.shape[1])
        return torch.cat((hidden_NW, padding_CW))

    def _resume(self, staged: Sequence[Staged]) -> Tensor:
        parts = []
        for item in staged:
            held = self._held.get(item.slot)
            known = held and held.staged._replace(layers=(held.staged.layers[1], item.layers[1]))
            if held is None or known != item:
                raise StepFault(
                    f"slot {item.slot}: layers before {item.layers[0]} were not passed just before"
                )
            parts.append(held.x_CE)
        return torch.cat(parts)


def _head(rows: StepRows, sequences: int) -> StepRows:
    """Return the rows of the first few sequences."""
    count = sum(rows.q_lens[:sequences])
    return replace(
        rows,
        tokens_N=rows.tokens_N[:count],
        positions_N=rows.positions_N[:count],
        kv_slots_N=rows.kv_slots_N[:count],
        block_table_SB=rows.block_table_SB[:sequences],
        q_lens=rows.q_lens[:sequences],
        kv_lens=rows.kv_lens[:sequences],
        sample_rows_R=rows.sample_rows_R[:0],
    )
