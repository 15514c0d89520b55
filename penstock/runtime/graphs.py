"""Decode steps as captured CUDA graphs: one launch per step instead of hundreds.

A graph replays fixed kernels on fixed addresses. So a decode step is copied into static buffers, padded to
the next of a few batch sizes (*buckets*), and replayed; the attention backend derives its plan on the device
from those buffers (`StaticRows`). Steps of any other kind run eagerly. Graphs are captured when a bucket is
first met, or all at start by `GraphRunner.warm_up`.

Legend: N rows, S sequences (one row each here), B block-table columns, E hidden size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from penstock.kernels.rows import StepRows
from penstock.kernels.triton.plan import StaticRows

logger = logging.getLogger(__name__)

Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]
"""Records a computation; returns what runs it again, and the tensor that each run leaves its result in."""


class GraphDecoder(Protocol):
    """What the runner of graphs needs of a model; see `penstock.models.decoder.Decoder`."""

    context: int
    """Longest sequence, in tokens."""
    device: torch.device

    def forward(self, rows: StepRows, kv: Any) -> Tensor:
        """Return the hidden states of all rows, having written their keys and values."""
        ...


class GraphStore(Protocol):
    """What it needs of the KV store; see `penstock.kernels.store.KVStore`."""

    page_size: int

    @property
    def scratch_slot(self) -> int:
        """A slot that padding rows may write and nothing reads."""
        ...


def graph_refusal(decoder: Any) -> str | None:
    """Return why a decoder's decode steps cannot be captured, or None if they can.

    The reasons: no CUDA device; an attention backend that plans on the host; experts, which are dispatched by
    counts that are read back to the host.
    """
    if torch.device(decoder.device).type != "cuda":
        return f"CUDA graphs need a CUDA device, and the model is on {decoder.device}"
    backend = decoder.stack.backend
    if not getattr(backend, "graph_safe", False):
        return f"attention backend {backend.name} plans on the host"
    if any(hasattr(block.mlp, "top_k") for block in decoder.spec.blocks):
        return "mixture-of-experts layers read their routing on the host"
    return None


def default_buckets(most: int) -> tuple[int, ...]:
    """Return ascending batch sizes up to ``most``: powers of two and, from 8 on, the middle of each gap.

    From 8 rows on, at most a third of a step is padding then, for two graphs per doubling.
    """
    sizes = {most}
    size = 1
    while size < most:
        sizes.add(size)
        if size >= 8 and size * 3 // 2 < most:
            sizes.add(size * 3 // 2)
        size *= 2
    return tuple(sorted(sizes))


class CudaCapture:
    """Captures into CUDA graphs that share one memory pool.

    Sharing is safe because the graphs run one after another on one stream, and each result tensor stays
    referenced.
    """

    WARMUPS = 2
    """Runs before the capture, so that kernels are compiled and libraries have their workspaces."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """See `Capture`."""
        main, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(main)
        with torch.cuda.stream(side):
            for _ in range(self.WARMUPS):
                run()
        main.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads may allocate meanwhile (pinned buffers of the next step): only this one must not.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            out_NE = run()
        return graph.replay, out_NE


@dataclass(slots=True)
class _Graph:
    replay: Callable[[], None]
    hidden_NE: Tensor


class GraphRunner:
    """A stand-in for ``decoder.forward`` that replays decode steps.

    The result of a replayed step is overwritten by the next replay: use it, on the same stream, before the
    next step is launched.

    Args:
        decoder: the model; `graph_refusal` must be None for it unless ``capture`` is given.
        kv: its store; calls with another store run eagerly, for a graph holds addresses of this one.
        most: sequences of the largest step that is captured.
        buckets: batch sizes, ascending; by default `default_buckets` of ``most``.
        capture: how to record; by default CUDA graphs.

    Raises:
        ValueError: the decoder cannot be captured, or the buckets are not ascending positive sizes.
    """

    def __init__(
        self,
        decoder: GraphDecoder,
        kv: GraphStore,
        *,
        most: int = 256,
        buckets: Sequence[int] | None = None,
        capture: Capture | None = None,
    ) -> None:
        reason = graph_refusal(decoder) if capture is None else None
        if reason is not None:
            raise ValueError(reason)
        self.buckets = tuple(default_buckets(most) if buckets is None else buckets)
        if not self.buckets or self.buckets[0] < 1 or list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"buckets: expected ascending positive sizes, got {self.buckets}")
        self._forward = decoder.forward
        self._context = decoder.context
        self._kv = kv
        self._capture = capture or CudaCapture()
        self._graphs: dict[int, _Graph] = {}
        self.failure: str | None = None
        """Why capturing was given up, once it has failed; every step runs eagerly from then on."""
        largest, device = self.buckets[-1], torch.device(decoder.device)
        columns = -(-decoder.context // kv.page_size)
        with torch.inference_mode(False):
            self._tokens_N = torch.zeros(largest, dtype=torch.int64, device=device)
            self._positions_N = torch.zeros(largest, dtype=torch.int64, device=device)
            self._kv_slots_N = torch.full((largest,), kv.scratch_slot, dtype=torch.int64, device=device)
            self._kv_lens_S = torch.zeros(largest, dtype=torch.int32, device=device)
            self._table_SB = torch.zeros(largest, columns, dtype=torch.int32, device=device)

    @property
    def captured(self) -> tuple[int, ...]:
        """Buckets that have a graph, ascending."""
        return tuple(sorted(self._graphs))

    def bucket(self, rows: StepRows) -> int | None:
        """Return the bucket that a step would be padded to, or None if it has to run eagerly."""
        count = len(rows.q_lens)
        if count == 0 or count != rows.tokens_N.shape[0] or rows.padded_from is not None:
            return None
        if count > self.buckets[-1] or rows.block_table_SB.shape[1] > self._table_SB.shape[1]:
            return None
        return next(size for size in self.buckets if size >= count)

    @torch.inference_mode()
    def warm_up(self) -> tuple[int, ...]:
        """Capture every bucket now, largest first so that the others fit its memory; return those made."""
        for bucket in reversed(self.buckets):
            if self.failure is None:
                self._graph(bucket)
        return self.captured

    @torch.inference_mode()
    def __call__(self, rows: StepRows, kv: Any) -> Tensor:
        """Return the hidden states of all rows; see `Decoder.forward`."""
        bucket = self.bucket(rows) if kv is self._kv and self.failure is None else None
        graph = self._graph(bucket) if bucket is not None else None
        if bucket is None or graph is None:
            return self._forward(rows, kv)
        self._load(rows, bucket)
        graph.replay()
        return graph.hidden_NE[: len(rows.q_lens)]

    def _graph(self, bucket: int) -> _Graph | None:
        if bucket not in self._graphs:
            # Capture over padding alone: its runs then write no page but the scratch one.
            self._pad(0, bucket)
            rows = self._rows(bucket)
            try:
                replay, hidden_NE = self._capture(lambda: self._forward(rows, self._kv))
            except RuntimeError as error:
                self.failure = f"capturing {bucket} rows failed: {error}"
                logger.warning("decode runs without CUDA graphs: %s", self.failure)
                return None
            self._graphs[bucket] = _Graph(replay, hidden_NE)
        return self._graphs[bucket]

    def _rows(self, bucket: int) -> StaticRows:
        """The buffers of a bucket as rows; the host's lengths are bounds that nothing captured follows."""
        return StaticRows(
            tokens_N=self._tokens_N[:bucket],
            positions_N=self._positions_N[:bucket],
            kv_slots_N=self._kv_slots_N[:bucket],
            block_table_SB=self._table_SB[:bucket],
            q_lens=[1] * bucket,
            kv_lens=[self._context] * bucket,
            sample_rows_R=self._tokens_N[:0],
            kv_lens_S=self._kv_lens_S[:bucket],
        )

    def _load(self, rows: StepRows, bucket: int) -> None:
        """Copy a step into the buffers; table columns past a sequence's pages stay stale and unread."""
        count, columns = rows.block_table_SB.shape
        kv_lens = torch.tensor(rows.kv_lens, dtype=torch.int32)
        if self._kv_lens_S.is_cuda:
            kv_lens = kv_lens.pin_memory()
        self._tokens_N[:count].copy_(rows.tokens_N)
        self._positions_N[:count].copy_(rows.positions_N)
        self._kv_slots_N[:count].copy_(rows.kv_slots_N)
        self._table_SB[:count, :columns].copy_(rows.block_table_SB)
        self._kv_lens_S[:count].copy_(kv_lens, non_blocking=True)
        self._pad(count, bucket)

    def _pad(self, start: int, stop: int) -> None:
        """Make rows ``start .. stop`` of the buffers padding: no context, and stored in the scratch page."""
        if start < stop:
            self._tokens_N[start:stop].zero_()
            self._positions_N[start:stop].zero_()
            self._kv_slots_N[start:stop].fill_(self._kv.scratch_slot)
            self._kv_lens_S[start:stop].zero_()
