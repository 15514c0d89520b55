"""Every stack that the registries can make, and a choice of them that covers all pairs."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple, cast, get_args

import msgspec

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.policies.bundle import build_policies
from penstock.policies.registry import Slot, names

ARGUMENTS: dict[str, str] = {
    "continuum": "continuum(8)",
    "continuum-preview": "continuum-preview(1s, 8)",
    "dlpm": "dlpm(40)",
    "headroom": "headroom(0.2)",
    "layered": "layered(3, 9, 2)",
    "ltr": "ltr(20, 4)",
    "mlfq": "mlfq(4, 1s)",
    "queue-bound": "queue-bound(6)",
    "rpm": "rpm(60)",
    "slo": "slo(2)",
    "splitfuse": "splitfuse(7)",
    "ttl": "ttl(1s)",
}
"""Arguments that make something of a policy in a world of a few dozen tokens; others go without."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "order": ("ltr(20, 4, displace=yes)", "vtc(charge=extend)"),
    "shape": ("layered(4, 10, 1, 2)", "chunked(6)"),
    "retain": ("ttl(1000s)",),
}
"""Arguments that make another policy of it."""
WRAPPERS = {"aged": "aged({}, 1s)", "per-tenant": "per-tenant({})", "foothold": "foothold({})"}
SLOTS: tuple[str, ...] = tuple(slot for slot in get_args(Slot) if slot != "route")

Stack = dict[str, str]
"""A policy string by slot."""


class Refused(NamedTuple):
    """A combination that is not built."""

    text: str
    field: str
    reason: str


def schedule_of(stack: Stack) -> ScheduleConfig:
    """Return the settings that choose a stack."""
    return msgspec.structs.replace(ScheduleConfig(), **stack)


def texts(slot: str) -> list[str]:
    """Return the slot's policies by themselves, as strings."""
    plain = [name for name in names(cast(Slot, slot)) if name not in WRAPPERS]
    return [ARGUMENTS.get(name, name) for name in plain] + list(VARIANTS.get(slot, ()))


def combined_orders() -> list[str]:
    """Return every order of two: wrapped ones, and each before each."""
    single = texts("order")
    wrapped = [pattern.format(text) for pattern in WRAPPERS.values() for text in single]
    nested = [
        outer.format(inner.format("fcfs")) for outer in WRAPPERS.values() for inner in WRAPPERS.values()
    ]
    before = [f"{first} > {then}" for first in single for then in single]
    mixed = [f"{wrapper} > {then}" for wrapper in wrapped for then in ("fcfs", "vtc", "sjf")]
    return wrapped + nested + before + mixed


def refusal(stack: Stack, caching: bool = True) -> Refused | None:
    """Return why a stack is refused; None if it is legal."""
    try:
        build_policies(schedule_of(stack), CacheConfig(enable_prefix_caching=caching))
    except ConfigError as error:
        return Refused(" ".join(stack.values()), error.field, error.message)
    return None


def legal_orders() -> tuple[list[str], list[Refused]]:
    """Return the orders that can be had, alone and combined, and the combinations that are refused."""
    legal, refused = texts("order"), []
    for text in combined_orders():
        why = refusal({"order": text})
        if why is None:
            legal.append(text)
        else:
            refused.append(why)
    return legal, refused


def _pairs(stack: Stack) -> set[tuple[tuple[str, str], ...]]:
    """Return the pairs of policies of different slots; an order of several counts for each of them."""
    known = [text for text in texts("order") if text in stack["order"]]
    single = [(slot, text) for slot, text in stack.items() if slot != "order"]
    return {(("order", text), other) for text in known for other in single} | set(combinations(single, 2))


def covering(orders: Iterable[str], seed: int = 0) -> list[Stack]:
    """Return a full stack for each order, and more until every pair of policies of two slots is in one."""
    rng = random.Random(seed)
    choices = {slot: texts(slot) for slot in SLOTS}
    left: set[tuple[tuple[str, str], ...]] = set()
    for a, b in combinations(SLOTS, 2):
        left |= {((a, x), (b, y)) for x in choices[a] for y in choices[b]}
    found: list[Stack] = []
    rest = list(orders)
    while rest or left:
        fixed = {"order": rest.pop(0)} if rest else dict(min(left))
        drawn = [{slot: fixed.get(slot) or rng.choice(choices[slot]) for slot in SLOTS} for _ in range(30)]
        best = max(drawn, key=lambda stack: len(_pairs(stack) & left))
        left -= _pairs(best)
        found.append(best)
    return found
