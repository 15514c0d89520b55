"""The memory plan: what will be resident and why, made before the KV cache is allocated.

Nothing here allocates. Sizes are in bytes. See `host.py` for how free memory is read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from penstock.core.errors import ConfigError
from penstock.models.spec import ModelSpec
from penstock.runtime.estimate import GIB, Shape, activation_bytes, human, logits_bytes
from penstock.runtime.host import Available, resident_bytes

CPU_KV_DEFAULT = 4 * GIB
"""On CPU a KV cache that nobody asked for stops here: host memory is shared with other programs."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where the memory goes. On CUDA all of it is device memory; ``baseline`` was taken before."""

    device: str
    available: Available
    """Free memory when the plan was made, before the weights were loaded."""
    fraction: float
    baseline: int
    """Resident before the model was loaded: interpreter, libraries."""
    weights: int
    blocks: int
    page_size: int
    block_bytes: int
    kv_why: str
    """What decided the number of blocks."""
    activations: int
    logits: int

    @property
    def kv(self) -> int:
        """Bytes of the KV cache, with the scratch block that padding rows write to."""
        return (self.blocks + 1) * self.block_bytes

    @property
    def at_rest(self) -> int:
        """Bytes that should be resident between steps."""
        return self.baseline + self.weights + self.kv

    @property
    def total(self) -> int:
        """Bytes that should be resident during the largest step."""
        return self.at_rest + self.activations + self.logits

    @property
    def headroom(self) -> int:
        """Bytes that were available and that the plan leaves alone."""
        return self.available.bytes - (self.total - self.baseline)

    def lines(self) -> list[tuple[str, int, str]]:
        """Return (name, bytes, why) of every part, in order."""
        tokens = self.blocks * self.page_size
        return [
            ("available", self.available.bytes, f"{self.available.source}, before loading"),
            ("baseline", self.baseline, "resident before loading: interpreter and libraries"),
            ("weights", self.weights, "parameters and rotary tables"),
            (
                "KV cache",
                self.kv,
                f"{self.blocks} blocks of {self.page_size} tokens ({tokens} tokens, "
                f"{self.block_bytes // self.page_size} bytes each); {self.kv_why}",
            ),
            ("activations", self.activations, "estimate for one step of max_num_batched_tokens rows"),
            ("logits", self.logits, "float32 rows of max_num_seqs sequences, and the sampler's copies"),
            (
                "total",
                self.total,
                f"expected to be resident in the largest step; {human(self.at_rest)} between steps",
            ),
            ("head room", self.headroom, "left for other programs, files and fragmentation"),
        ]

    def text(self) -> str:
        """Return the plan as plain aligned lines."""
        rows = [(name, human(size), why) for name, size, why in self.lines()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{name:<{widths[0]}}  {size:>{widths[1]}}  {why}" for name, size, why in rows)

    def __rich__(self) -> object:
        """Render as a table when printed by rich."""
        from rich.table import Table

        table = Table(title=f"Memory plan ({self.device})", title_justify="left", box=None, pad_edge=False)
        table.add_column("part")
        table.add_column("size", justify="right")
        table.add_column("why", overflow="fold")
        for name, size, why in self.lines():
            table.add_row(name, human(size), why, style="bold" if name == "total" else None)
        return table

    def report(self, resident: int | None = None) -> MemoryReport:
        """Compare with what is resident now (measured if not given)."""
        measured = measure_resident(self.device) if resident is None else resident
        return MemoryReport(self.at_rest, self.total, measured)


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Planned against measured resident bytes."""

    at_rest: int
    total: int
    resident: int

    @property
    def off_by(self) -> float:
        """How far the measurement lies outside the planned range, as a share of its nearer end; 0 inside."""
        if self.resident > self.total:
            return self.resident / self.total - 1
        return min(0.0, self.resident / self.at_rest - 1)

    def text(self) -> str:
        """Return one line."""
        verdict = f"{self.off_by:+.1%} outside the plan" if self.off_by else "as planned"
        return (
            f"resident {human(self.resident)}, planned {human(self.at_rest)} at rest and {human(self.total)} "
            f"in the largest step: {verdict}"
        )


def measure_resident(device: str) -> int:
    """Return the resident bytes of this process; on CUDA what is taken of the device by anyone."""
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return resident_bytes()


def plan_memory(
    spec: ModelSpec,
    shape: Shape,
    *,
    device: str,
    dtype: torch.dtype,
    weights: int,
    block_bytes: int,
    available: Available,
    baseline: int,
    fraction: float,
    kv_bytes: int = 0,
) -> MemoryPlan:
    """Decide the number of KV blocks.

    Args:
        spec: the model.
        shape: sizes of a step.
        device: ``cpu`` or ``cuda``.
        dtype: of weights and activations.
        weights: bytes of the loaded weights.
        block_bytes: bytes of one KV block over all layers.
        available: free memory before the weights were loaded.
        baseline: resident bytes before the weights were loaded.
        fraction: share of ``available`` that may be taken.
        kv_bytes: KV budget asked for; 0 derives one.

    Raises:
        ConfigError: the budget does not hold one request of ``max_model_len`` tokens, or is not there at all.
    """
    activations = activation_bytes(spec, shape, dtype.itemsize)
    logits = logits_bytes(spec.vocab_size, shape, device)
    blocks, why = _count_blocks(
        shape, device, weights + activations + logits, block_bytes, available, fraction, kv_bytes
    )
    return MemoryPlan(
        device=device,
        available=available,
        fraction=fraction,
        baseline=baseline,
        weights=weights,
        blocks=blocks,
        page_size=shape.page_size,
        block_bytes=block_bytes,
        kv_why=why,
        activations=activations,
        logits=logits,
    )


def _count_blocks(
    shape: Shape,
    device: str,
    rest: int,
    block_bytes: int,
    available: Available,
    fraction: float,
    kv_bytes: int,
) -> tuple[int, str]:
    """Blocks beside ``rest`` bytes of other things, and what decided their number."""
    per_request = -(-shape.max_model_len // shape.page_size)
    if kv_bytes:
        budget, why = kv_bytes, "as cache.kv_cache_memory_bytes says"
        if rest + kv_bytes > available.bytes:
            raise ConfigError(
                "cache.kv_cache_memory_bytes",
                f"{human(kv_bytes)} of KV beside {human(rest)} of weights and activations exceed the "
                f"{human(available.bytes)} available ({available.source})",
            )
    else:
        budget = int(available.bytes * fraction) - rest
        why = f"what {fraction:.0%} of the available memory leaves"
    blocks = budget // block_bytes - 1
    if blocks < per_request:
        raise ConfigError(
            "cache.kv_cache_memory_bytes",
            _too_small(budget, kv_bytes, blocks, per_request, shape, block_bytes, fraction),
        )
    if not kv_bytes:
        useful = shape.max_num_seqs * per_request
        if useful <= blocks:
            blocks, why = useful, "enough for max_num_seqs sequences of max_model_len tokens"
        frugal = max(CPU_KV_DEFAULT // block_bytes - 1, per_request)
        if device == "cpu" and frugal < blocks:
            blocks, why = frugal, f"{human(CPU_KV_DEFAULT)} unless cache.kv_cache_memory_bytes asks for more"
    return blocks, why


def _too_small(
    budget: int, asked: int, blocks: int, per_request: int, shape: Shape, block_bytes: int, fraction: float
) -> str:
    need = (per_request + 1) * block_bytes
    origin = (
        f"{asked} bytes"
        if asked
        else f"the {max(0, budget)} bytes that cache.memory_fraction={fraction:g} leaves for KV"
    )
    fits = max(0, blocks) * shape.page_size
    remedy = f"; a model.max_model_len of at most {fits} would do too" if fits else ""
    return (
        f"{origin} cannot hold one request of model.max_model_len={shape.max_model_len} tokens, "
        f"which needs at least {need} bytes ({human(need)}){remedy}"
    )
