"""Drives a `Decoder` the way the runner does: sequences in pages scattered over a store, in mixed steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from penstock.kernels.rows import StepRows
from penstock.kernels.store import KVStore
from penstock.models.decoder import Decoder


class Paged:
    """Sequences of known tokens, with pages dealt in a shuffled order and poisoned beyond what is written."""

    def __init__(self, decoder: Decoder, texts: Sequence[Tensor], page_size: int = 8, seed: int = 0) -> None:
        self.decoder = decoder
        self.texts = list(texts)
        self.done = [0] * len(texts)
        self.page = page_size
        need = [-(-len(text) // page_size) for text in texts]
        blocks = sum(need) + 3
        self.kv: KVStore = decoder.new_kv(blocks, page_size)
        deal = torch.randperm(blocks, generator=torch.Generator().manual_seed(seed)).tolist()
        self.tables = [[deal.pop() for _ in range(count)] for count in need]

    def step(self, work: Sequence[tuple[int, int]]) -> dict[int, Tensor]:
        """Compute the next n tokens of each (sequence, n) in one step, and return their logits."""
        q_lens = [n for _, n in work]
        starts = [self.done[s] for s, _ in work]
        positions = torch.cat([torch.arange(b, b + n) for b, n in zip(starts, q_lens, strict=True)])
        tokens = torch.cat([self.texts[s][b : b + n] for (s, n), b in zip(work, starts, strict=True)])
        width = max(len(self.tables[s]) for s, _ in work)
        table = torch.zeros(len(work), width, dtype=torch.int32)
        slots = []
        for row, ((s, n), b) in enumerate(zip(work, starts, strict=True)):
            blocks = torch.tensor(self.tables[s])
            table[row, : len(blocks)] = blocks.int()
            at = torch.arange(b, b + n)
            slots.append(blocks[at // self.page] * self.page + at % self.page)
        rows = StepRows(
            tokens_N=tokens,
            positions_N=positions,
            kv_slots_N=torch.cat(slots),
            block_table_SB=table,
            q_lens=q_lens,
            kv_lens=[b + n for b, n in zip(starts, q_lens, strict=True)],
            sample_rows_R=torch.arange(len(tokens)),
        )
        for s, n in work:
            self.done[s] += n
        logits = self.decoder.logits(self.decoder.forward(rows, self.kv))
        return dict(zip([s for s, _ in work], logits.split(q_lens), strict=True))

    def run(self, sequence: int, chunk: int | None = None) -> Tensor:
        """Compute the rest of one sequence alone, ``chunk`` tokens at a time; return its logits."""
        out = []
        while self.done[sequence] < len(self.texts[sequence]):
            left = len(self.texts[sequence]) - self.done[sequence]
            out.append(self.step([(sequence, min(chunk or left, left))])[sequence])
        return torch.cat(out)

    def run_mixed(self, chunks: Sequence[int]) -> list[Tensor]:
        """Compute all sequences together, each at its own chunk size, until all are done."""
        out: list[list[Tensor]] = [[] for _ in self.texts]
        while any(d < len(t) for d, t in zip(self.done, self.texts, strict=True)):
            work = [
                (s, min(chunks[s], len(text) - self.done[s]))
                for s, text in enumerate(self.texts)
                if self.done[s] < len(text)
            ]
            for s, logits in self.step(work).items():
                out[s].append(logits)
        return [torch.cat(parts) for parts in out]
