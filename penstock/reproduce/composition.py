"""Composition: every stack that the registries can make is sound, or refused by name.

Property: random hostile worlds (arrivals, tenants, priorities, programs, groups, objectives, cancellations,
few blocks, steps in flight) through the production scheduler and an executor that checks contexts. Each legal
order, alone, wrapped and before each other, is in a full stack, and every pair of policies of two slots is in
at least one. 10,000 steps a stack: about 5 minutes on one idle core; a few seconds when quick.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

from penstock.config.settings import ScheduleConfig
from penstock.policies.bundle import policy_cautions
from penstock.policies.parse import parse_policy
from penstock.policies.registry import names
from penstock.reproduce.base import Bar, experiment
from penstock.testing.conformance import check_order
from penstock.testing.stacks import Refused, Stack, covering, legal_orders, refusal, schedule_of
from penstock.testing.worlds import Player, World, make_world, wait_of_unloved

log = logging.getLogger(__name__)
PATIENCE = 600
"""Ticks in which a request that nobody prefers must be served, unless its stack says that it may starve."""


class Arena:
    """The worlds that all stacks are put through, and what first come first served makes of them.

    Args:
        seed: of all worlds.
        ticks: of one.
    """

    def __init__(self, seed: int, ticks: int) -> None:
        self._seed, self._ticks = seed, ticks
        self._worlds: dict[tuple[int, bool], tuple[World, dict[str, list[int]]]] = {}

    def world(self, number: int, cached: bool) -> tuple[World, dict[str, list[int]]]:
        """Return a world (``cached``: surely with a prefix cache) and its outputs under FCFS."""
        key = (number, cached)
        if key not in self._worlds:
            world = make_world(self._seed * 10_007 + number, self._ticks, True if cached else None)
            fcfs = Player(ScheduleConfig(order="fcfs", admit="unlimited"), world).play()
            self._worlds[key] = world, fcfs.outputs
        return self._worlds[key]


class Endured(NamedTuple):
    """What became of one stack."""

    steps: int
    preemptions: int
    wait: float
    violations: int
    different: int
    """Requests whose output is not that of first come first served."""


def endure(stack: Stack, arena: Arena, steps: int, check_every: int = 1) -> Endured:
    """Put a stack through worlds until it has run so many steps."""
    schedule = schedule_of(stack)
    cached = refusal(stack, caching=False) is not None
    done = preemptions = different = number = 0
    wait = 0.0
    while done < steps:
        world, right = arena.world(number, cached)
        try:
            soak = Player(schedule, world, check_every).play()
        except Exception as error:  # whatever it is, it is the finding
            log.warning("world %d of %s: %s: %s", number, stack, type(error).__name__, error)
            return Endured(done, preemptions, wait, 1, different)
        number += 1
        done += soak.steps
        preemptions += soak.preemptions
        wait = max(wait, soak.wait)
        different += sum(right.get(name, got) != got for name, got in soak.outputs.items())
    return Endured(done, preemptions, wait, 0, different)


def unnamed(refused: list[Refused]) -> list[Refused]:
    """Return the refusals that do not name a policy, or the slot."""
    known = names("order")
    return [
        one for one in refused if one.field != "schedule.order" or not any(n in one.reason for n in known)
    ]


def says_it_starves(order: str) -> bool:
    """Whether the start-up lines of an order say that somebody may wait without end."""
    lines = policy_cautions(ScheduleConfig(order=order))
    return any("no end to that" in line for line in lines)


def silent_starvers(orders: list[str], patience: int = PATIENCE) -> list[str]:
    """Return the orders that starve a request and do not say so; priorities are all alike."""
    found = []
    for order in orders:
        if says_it_starves(order):
            continue
        schedule = ScheduleConfig(order=order, admit="unlimited")
        waits = [wait_of_unloved(schedule, tenant, patience) for tenant in ("busy", "late")]
        if max(waits) > patience:
            log.warning("%s starves a request, and does not say so", order)
            found.append(order)
    return found


def breaches(orders: list[str]) -> list[str]:
    """Return the orders that break the contract of the order slot."""
    found = []
    for order in orders:
        try:
            check_order(lambda order=order: parse_policy("order", order))  # type: ignore[misc]
        except AssertionError as error:
            log.warning("%s: %s", order, error)
            found.append(order)
    return found


@experiment(
    "compose-pairs",
    row="X",
    system="composition",
    kind="property",
    title="every legal stack keeps its books and its answers on random steps; every other is refused by name",
    bars=(
        Bar("least_steps", floor=10_000),
        Bar("violations", ceiling=0),
        Bar("outputs_unlike_fcfs", ceiling=0),
        Bar("silent_starvers", ceiling=0),
        Bar("contract_breaches", ceiling=0),
        Bar("refusals_without_name", ceiling=0),
        Bar("orders_refused", floor=1),
        Bar("preemptions", floor=1000),
    ),
    fixed=True,
)
def pairs(seed: int, quick: bool) -> dict[str, float]:
    """All orders, and all pairs across slots; every eighth stack and 150 steps of each when quick."""
    legal, refused = legal_orders()
    stacks = covering(legal, seed)
    uncovered = sum(refusal(stack) is not None for stack in stacks)
    if quick:
        stacks, legal = stacks[::8], legal[::16]
    arena = Arena(seed, 150 if quick else 1000)
    seen = [endure(stack, arena, 150 if quick else 10_000, 4) for stack in stacks]
    return {
        "stacks": len(stacks),
        "orders_refused": len(refused),
        "stacks_refused": uncovered,
        "refusals_without_name": len(unnamed(refused)),
        "least_steps": min(one.steps for one in seen),
        "steps": sum(one.steps for one in seen),
        "preemptions": sum(one.preemptions for one in seen),
        "violations": sum(one.violations for one in seen),
        "outputs_unlike_fcfs": sum(one.different for one in seen),
        "longest_wait_ticks_per_token": max(one.wait for one in seen),
        "contract_breaches": len(breaches(legal)),
        "silent_starvers": len(silent_starvers(legal)),
    }
