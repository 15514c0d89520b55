"""The placement axis: where KV lives, and where attention over it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from penstock.kernels.attention.base import AttentionBackend, AttnPlan
from penstock.kernels.layer_spec import LayerSpec


class Placement(Protocol):
    """Splits the keys of a step over sites; each site returns a fragment, and the layer merges them."""

    name: str

    def split(self, layer: LayerSpec, plan: AttnPlan) -> Sequence[tuple[AttentionBackend, AttnPlan]]:
        """Return the sites and what each attends to; the parts are disjoint and cover the plan."""
        ...


class Local:
    """One site holds everything: the device the model runs on."""

    name = "local"

    def __init__(self, backend: AttentionBackend) -> None:
        self._backend = backend

    def split(self, layer: LayerSpec, plan: AttnPlan) -> Sequence[tuple[AttentionBackend, AttnPlan]]:
        """See `Placement.split`."""
        return ((self._backend, plan),)
