"""What policies say about themselves, so that stacks can be judged without a list of names.

A trait is a class attribute, or one that the constructor sets where an argument decides. What a policy does
not declare has the value given here, so that other packages' policies need not know of this file.
"""

from __future__ import annotations

from typing import Any


class Traits:
    """Every trait, with what holds of a policy that says nothing."""

    # -- any slot
    needs_prefix_cache: str = ""
    """Without a prefix cache it does nothing of what it is for: what to configure then instead."""
    without_cost: str = ""
    """What it falls back to where the engine's step times are not known."""

    # -- order
    picks_tenant: bool = False
    """It decides whose turn it is among tenants."""
    service_bound: bool = False
    """Its papers bound how far tenants' service may differ, if nothing is ever preempted."""
    coarse: bool = False
    """It sorts into a few classes that clients asked for, and leaves the rest to what stands behind it."""
    leaves_equals: bool = True
    """Several sequences usually share a key, so that what stands behind it has something to decide."""
    starves: str = ""
    """Who may wait for ever while others keep coming; empty if nobody does, or only who asked for it."""
    ages: bool = False
    """Whoever has waited for long goes before everybody that it, or what stands behind it, would prefer."""
    shortest: bool = False
    """It ranks by how long a request itself will take."""
    displaces: bool | None = None
    """Waiting sequences may displace running ones; None: they may if it has a `may_displace` of its own."""
    churns: bool = False
    """Newcomers displace the running by rank, and a sequence may be displaced again and again."""
    reads_priority: bool = False
    """It knows which requests are urgent."""
    returns_first: bool = False
    """Turns whose program has pinned KV go before newcomers."""

    # -- shape
    stall_free: bool = False
    """No running decode is left out of a step for a prompt's sake."""
    beside_many: str = ""
    """What to configure instead where many decodes run beside prompts."""

    # -- reserve
    covers_growth: bool = False
    """Whoever was admitted never lacks room to grow."""
    for_urgent: bool = False
    """It keeps room for urgent requests."""


def trait(policy: object, name: str) -> Any:
    """Return a trait of a policy, or what holds if it declares none."""
    return getattr(policy, name, getattr(Traits, name))
