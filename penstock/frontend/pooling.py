"""A prompt's embedding, put together from the sums that the steps of its prompt left."""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.core.errors import PenstockError
from penstock.core.plan import Pooled
from penstock.frontend.outputs import RequestOutput


class Pool:
    """Adds up what comes; one per request that asked for pooling."""

    def __init__(self) -> None:
        self._total_E: np.ndarray | None = None
        self._rows = 0
        self._next = 0

    def push(self, news: Pooled) -> None:
        """Take the sum of further prompt tokens; one that does not follow the last begins anew."""
        part_E = np.frombuffer(news.total, "<f4").astype(np.float64)
        if self._total_E is None or news.start != self._next:  # a preempted prompt is pooled from its start
            self._total_E, self._rows = part_E, news.rows
        else:
            self._total_E += part_E
            self._rows += news.rows
        self._next = news.start + news.rows

    def mean(self) -> tuple[float, ...] | None:
        """Return the average so far, or None before the first sum."""
        if self._total_E is None:
            return None
        return tuple((self._total_E / self._rows).tolist())


def pooling_params(pooling: str) -> dict[str, Any]:
    """Return the parameters of a request that wants nothing but an embedding.

    The engine always generates; the one token that it cannot avoid is dropped.
    """
    return {"pooling": pooling, "max_tokens": 1, "temperature": 0.0}


def embedding_of(output: RequestOutput) -> tuple[float, ...]:
    """Return a finished request's embedding.

    Raises:
        PenstockError: it failed; the text carries the cause.
    """
    if output.embedding is None:
        raise PenstockError(f"embedding failed: {output.outputs[0].detail or 'the engine returned none'}")
    return output.embedding


def shaped(embedding: tuple[float, ...], dimensions: int | None = None, normalize: bool = True) -> np.ndarray:
    """Cut an embedding to its first dimensions, and scale it to length 1.

    Args:
        embedding: as it came from the model.
        dimensions: how many to keep (Matryoshka representation learning, Kusupati et al. 2022); None: all.
        normalize: divide by the length of what is kept; a zero vector stays zero.

    Returns:
        float32 ``[dimensions]``.
    """
    kept_E = np.asarray(embedding[:dimensions], np.float64)
    length = float(np.linalg.norm(kept_E))
    if normalize and length > 0:
        kept_E = kept_E / length
    return kept_E.astype(np.float32)
