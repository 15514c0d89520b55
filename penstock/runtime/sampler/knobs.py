"""The parameters that choosing needs, row by row, and how many rows are handled at once.

Legend: R rows, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from penstock.runtime.sampler.noise import row_keys
from penstock.runtime.sampler.params import Floats, Ints, SamplingTable

BLOCK = {"cpu": 1 << 18, "cuda": 1 << 24}
"""Most [row, token] entries handled at once where float64 or int64 copies are made: bounds memory, suits
caches.
"""


@dataclass(slots=True)
class Knobs:
    """Parameters of R rows, host vectors."""

    temperature: Floats
    top_k: Ints
    top_p: Floats
    min_p: Floats
    keys: Ints
    """Noise keys, see `noise.row_keys`."""

    @classmethod
    def gather(cls, table: SamplingTable, slots_R: Ints, positions_R: Ints) -> Knobs:
        """Collect the knobs of the given slots for tokens at the given positions."""
        return cls(
            table.temperature[slots_R],
            table.top_k[slots_R],
            table.top_p[slots_R],
            table.min_p[slots_R],
            row_keys(table.seed[slots_R], positions_R),
        )

    def pick(self, rows: Ints) -> Knobs:
        """The knobs of some of the rows."""
        return Knobs(*(getattr(self, field.name)[rows] for field in fields(self)))

    def column(self, name: str, device: torch.device) -> Tensor:
        """One knob as an ``[R, 1]`` tensor."""
        return torch.from_numpy(np.ascontiguousarray(getattr(self, name))).to(device)[:, None]


def rows_at_once(device: torch.device, vocab: int) -> int:
    """Rows of a block that keeps within `BLOCK`, at least one."""
    return max(1, BLOCK.get(device.type, BLOCK["cuda"]) // vocab)


def argmax(values_RV: Tensor) -> Tensor:
    """Index of the largest value of each row, the lowest one among equals on CPU; int64."""
    if values_RV.device.type == "cpu":
        return torch.from_numpy(values_RV.numpy().argmax(axis=1))
    return values_RV.argmax(dim=1)
