"""Least counter first: VTC without its lift, a baseline."""

from __future__ import annotations

from penstock.policies.order.vtc import VirtualTokens
from penstock.policies.registry import register


@register("order", "lcf")
class LeastCounterFirst(VirtualTokens):
    """By all the service that a tenant ever got: whoever was idle may starve the others until it caught up.

    Args:
        input_price: service units of a prompt token.
        output_price: service units of a generated token.
    """

    service_bound = False
    starves = "tenants beside one that comes back from idleness"

    def __init__(self, input_price: float = 1.0, output_price: float = 2.0) -> None:
        super().__init__(input_price, output_price, lift="none")
