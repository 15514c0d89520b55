"""The static description of an attention layer: who owns its KV, and which keys a query may see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mask:
    """Static visibility: a query at position p sees keys at ``max(0, p - window + 1) .. p``.

    With ``window=None`` it sees everything up to itself (full causal attention).
    """

    window: int | None = None

    def first_visible(self, position: int) -> int:
        """Return the lowest key position that a query at ``position`` sees."""
        return 0 if self.window is None else max(0, position - self.window + 1)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One attention layer, as the config declares it.

    Query head h reads KV head ``h // (heads // kv_heads)`` (grouped-query attention).
    """

    index: int
    heads: int
    """Query heads."""
    kv_heads: int
    head_dim: int
    scale: float
    """Multiplies q.k before softcap and softmax."""
    mask: Mask = Mask()
    softcap: float | None = None
    """If set, scores become ``softcap * tanh(score / softcap)`` before masking."""
    kv_source: int = -1
    """Layer that owns the KV this layer reads; -1 means itself. A borrower writes nothing."""

    @property
    def owner(self) -> int:
        """Index of the layer whose store this layer reads."""
        return self.index if self.kv_source < 0 else self.kv_source

    @property
    def window(self) -> int | None:
        """Keys visible to a query, itself included; None is unlimited."""
        return self.mask.window
