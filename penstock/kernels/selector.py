"""The selection axis: which of the stored keys a layer reads, or drops for good."""

from __future__ import annotations

from typing import Literal, Protocol

from torch import Tensor

from penstock.kernels.attention.base import AttnPlan
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.partial import Partial

Kind = Literal["none", "drop", "pick"]


class Selector(Protocol):
    """Narrows what is read. It sees the queries before, and the fragment after, each attention."""

    name: str
    kind: Kind
    """``drop`` frees for good, ``pick`` chooses per step, ``none`` does neither."""

    def pick(self, layer: LayerSpec, q_NHD: Tensor, plan: AttnPlan) -> AttnPlan:
        """Return the plan to attend with: the given one, or a narrower one over fewer keys."""
        ...

    def observe(self, layer: LayerSpec, plan: AttnPlan, part: Partial) -> None:
        """See the merged fragment of the layer, e.g. to keep scores."""
        ...

    def fingerprint(self) -> str:
        """Return a salt for the prefix cache; empty when what is stored is the dense model's."""
        ...


class ReadAll:
    """Read everything that the layer's mask shows."""

    name = "all"
    kind: Kind = "none"

    def pick(self, layer: LayerSpec, q_NHD: Tensor, plan: AttnPlan) -> AttnPlan:
        """See `Selector.pick`."""
        return plan

    def observe(self, layer: LayerSpec, plan: AttnPlan, part: Partial) -> None:
        """See `Selector.observe`."""

    def fingerprint(self) -> str:
        """See `Selector.fingerprint`."""
        return ""
