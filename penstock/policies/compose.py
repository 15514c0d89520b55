"""Which policies go together: rules over their traits, not over their names.

An order such as ``priority > vtc > aged(sjf, 60s)`` reads as a chain: each order decides among the equals of
those before it, and a wrapper stands before what it wraps. Sources of the hazards: the papers of the systems;
docs/systems/composition.md lists all, with those that the mechanism rules out by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from penstock.config.settings import ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.core.policy import Policies
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.combine import Lexicographic, displaces, plain
from penstock.policies.registry import Slot, name_of
from penstock.policies.traits import trait

MANY_SEQUENCES = 64
"""From so many decodes on, a mixture's experts are nearly all read anyway."""


class Stack(NamedTuple):
    """One policy per slot and what they run on."""

    policies: Policies
    schedule: ScheduleConfig
    caching: bool = True
    """Whether there is a prefix cache."""
    cost: bool | None = None
    """Whether step times are known; None: not known yet."""

    def line(self) -> list[object]:
        """Return the orders as a chain, most significant first; wrappers before what they wrap."""
        return _line(self.policies.order)

    def leaves(self) -> list[object]:
        """Return the chain without wrappers."""
        return [order for order in self.line() if not _inner(order)]

    def each(self) -> list[tuple[Slot, object]]:
        """Return every policy with its slot; a chain's members one by one."""
        found: list[tuple[Slot, object]] = [("order", order) for order in self.line()]
        slots: tuple[Slot, ...] = ("shape", "preempt", "evict", "admit", "reserve", "retain")
        return found + [(slot, getattr(self.policies, slot)) for slot in slots]


def _inner(order: object) -> list[object]:
    parts = order.parts() if hasattr(order, "parts") else ()
    return [part for part in parts if hasattr(part, "may_displace")]


def _line(order: object) -> list[object]:
    inner = [one for part in _inner(order) for one in _line(part)]
    return inner if isinstance(order, Lexicographic) else [order, *inner]


def _moves(order: object) -> bool:
    """Whether an order has nothing but a key that moves with time, which cannot be nested."""
    return isinstance(order, KeyOrder) and plain(order) and not order.static


def _names(policies: list[object]) -> str:
    return " and ".join(repr(name_of(policy)) for policy in policies)


def _first(chain: list[object], name: str) -> int:
    """Where the first order with a trait stands; behind the chain if there is none."""
    return next((i for i, order in enumerate(chain) if trait(order, name)), len(chain))


# -- what is looked for: each returns the names at fault, or nothing -------------------------------------


def two_tenant_picks(stack: Stack) -> str:
    """More than one order decides among tenants."""
    found = [order for order in stack.line() if trait(order, "picks_tenant")]
    return _names(found) if len(found) > 1 else ""


def two_alike(stack: Stack) -> str:
    """The same order twice."""
    chain = stack.line()
    found = [order for i, order in enumerate(chain) if type(order) in map(type, chain[:i])]
    return _names(found[:1])


def idle_orders(stack: Stack) -> str:
    """Orders stand behind one that leaves them nothing to decide."""
    leaves = stack.leaves()
    found = [order for order in leaves[:-1] if not trait(order, "leaves_equals") or _moves(order)]
    return _names(found[:1])


def fine_before_tenants(stack: Stack) -> str:
    """Something other than classes decides before the pick among tenants."""
    chain = stack.line()
    at = _first(chain, "picks_tenant")
    found = [order for order in chain[:at] if not _inner(order) and not trait(order, "coarse")]
    return _names(found) if at < len(chain) else ""


def classes_before_tenants(stack: Stack) -> str:
    """Classes decide before the pick among tenants."""
    chain = stack.line()
    at = _first(chain, "picks_tenant")
    found = [order for order in chain[:at] if trait(order, "coarse")]
    return _names(found) if at < len(chain) else ""


def ages_before_tenants(stack: Stack) -> str:
    """Age decides before the pick among tenants."""
    chain = stack.line()
    at, age = _first(chain, "picks_tenant"), _first(chain, "ages")
    return _names([chain[at]]) if age < at < len(chain) else ""


def idle_cache_orders(stack: Stack) -> str:
    """Policies for a prefix cache, without one."""
    found = [] if stack.caching else [p for _, p in stack.each() if trait(p, "needs_prefix_cache")]
    instead = [trait(policy, "needs_prefix_cache") for policy in found]
    return f"{_names(found)} (use {', '.join(instead)})" if found else ""


def pins_without_cache(stack: Stack) -> str:
    """Pins, and nothing to pin in."""
    retain = stack.policies.retain
    return _names([retain]) if retain.reason is not None and not stack.caching else ""


def starving(stack: Stack) -> str:
    """Orders that starve somebody, with nothing that ages before them."""
    chain = stack.line()
    found = [order for order in chain[: _first(chain, "ages")] if trait(order, "starves")]
    return "; ".join(f"{_names([order])} lets {trait(order, 'starves')} wait" for order in found)


def bound_without_room(stack: Stack) -> str:
    """A bound on service that preemption voids."""
    found = [order for order in stack.line() if trait(order, "service_bound")]
    safe = trait(stack.policies.reserve, "covers_growth") and not displaces(stack.policies.order)
    return "" if safe else _names(found)


def churn_in_stall_free(stack: Stack) -> str:
    """Decodes that shapes protect and the order displaces."""
    found = [order for order in stack.line() if trait(order, "churns") and displaces(stack.policies.order)]
    return _names(found) if trait(stack.policies.shape, "stall_free") else ""


def displaces_in_vain(stack: Stack) -> str:
    """An order that displaces, behind one that tells requests apart without displacing."""
    chain = stack.line()
    calm = next((i for i, order in enumerate(chain) if not displaces(order)), len(chain))
    return _names([order for order in chain[calm:] if displaces(order)])


def short_programs(stack: Stack) -> str:
    """Programs whose turns are ranked by their own length."""
    found = [order for order in stack.line() if trait(order, "shortest")]
    return _names(found) if stack.policies.retain.reason == "program" else ""


def late_returns(stack: Stack) -> str:
    """Pins for programs whose returns wait like everybody."""
    retain = stack.policies.retain
    kept = retain.reason == "program" and not any(trait(order, "returns_first") for order in stack.line())
    return _names([retain]) if kept else ""


def free_pins(stack: Stack) -> str:
    """Pins that no tenant is charged for."""
    picks = any(trait(order, "picks_tenant") for order in stack.line())
    return _names([stack.policies.retain]) if picks and stack.policies.retain.reason == "program" else ""


def urgent_unknown(stack: Stack) -> str:
    """Room for urgent requests that the order does not know."""
    knows = any(trait(order, "reads_priority") for order in stack.line())
    reserve = stack.policies.reserve
    return _names([reserve]) if trait(reserve, "for_urgent") and not knows else ""


def crowded(stack: Stack) -> str:
    """A shape that gains nothing beside many decodes, and may get many."""
    shape = stack.policies.shape
    instead = trait(shape, "beside_many")
    many = stack.schedule.max_num_seqs >= MANY_SEQUENCES
    return f"{_names([shape])} (use {instead})" if instead and many else ""


def no_cost(stack: Stack) -> str:
    """Policies that ask for step times, without any."""
    found = [] if stack.cost is not False else [p for _, p in stack.each() if trait(p, "without_cost")]
    return "; ".join(f"{_names([policy])} {trait(policy, 'without_cost')}" for policy in found)


# -- the rules ---------------------------------------------------------------------------------------------


class Rule(NamedTuple):
    """What is looked for, what is wrong with it, and what to do about it."""

    slot: Slot
    find: Callable[[Stack], str]
    why: str
    instead: str


REFUSALS: tuple[Rule, ...] = (
    Rule(
        "order",
        two_tenant_picks,
        "each decides which tenant is next, and only the first could",
        "keep one of them and order each tenant's own requests by something else behind it",
    ),
    Rule("order", two_alike, "it is there twice, and the second one would decide nothing", "leave one out"),
    Rule(
        "order",
        idle_orders,
        "its keys are hardly ever equal, or move with time: what stands behind it would decide nothing",
        "let it come last in 'a > b'",
    ),
    Rule(
        "order",
        fine_before_tenants,
        "it decides before tenants are chosen among, which voids the fairness between them",
        "put it behind the order that picks tenants, e.g. 'vtc > sjf' instead of 'sjf > vtc'",
    ),
    Rule(
        "order",
        idle_cache_orders,
        "it works with cached prefixes, and there are none",
        "or set cache.enable_prefix_caching",
    ),
    Rule(
        "retain",
        pins_without_cache,
        "what is pinned is pages of the prefix cache, and there is none",
        "set cache.enable_prefix_caching, or retain 'none'",
    ),
)
"""A stack that one of these finds is not built."""

CAUTIONS: tuple[Rule, ...] = (
    Rule(
        "order",
        starving,
        "there is no end to that while others keep coming",
        "'aged(..., 60s)' around it sets one",
    ),
    Rule(
        "order",
        classes_before_tenants,
        "tenants are treated fairly only among requests of one class",
        "leave it out if tenants choose their own priorities",
    ),
    Rule(
        "order",
        ages_before_tenants,
        "whoever has aged goes by arrival, whosever it is, so under overload tenants get what they send",
        "age within tenants instead, e.g. 'vtc > aged(sjf, 60s)'",
    ),
    Rule(
        "order",
        bound_without_room,
        "its bound on service holds only where nothing is preempted; fairness is then approximate",
        "reserve 'final' and an order that displaces nobody keep the bound",
    ),
    Rule(
        "order",
        churn_in_stall_free,
        "it displaces running decodes, whose clients then see a stall in spite of the stall-free shape",
        "orders that do not displace (ltr, sjf) cause none",
    ),
    Rule(
        "order",
        displaces_in_vain,
        "it stands behind an order that displaces nobody, and therefore displaces nobody either",
        "put it first if it is meant to",
    ),
    Rule(
        "order",
        short_programs,
        "it ranks turns by their own length, so that long turns hold up the programs they belong to",
        "send the length that is left of the whole program as the predicted one",
    ),
    Rule(
        "retain",
        late_returns,
        "a turn that comes back waits like a newcomer, and what is pinned for it lies idle meanwhile",
        "'program-fcfs', or 'vtc > program-fcfs', lets it in first",
    ),
    Rule(
        "retain",
        free_pins,
        "pinned memory is charged to no tenant: one with many programs takes room from the others",
        "keep its times short",
    ),
    Rule(
        "reserve",
        urgent_unknown,
        "urgent requests get room and yet wait their turn",
        "order 'priority > fcfs' lets them overtake",
    ),
    Rule(
        "shape",
        crowded,
        "beside many decodes it only makes first tokens later",
        f"or lower schedule.max_num_seqs below {MANY_SEQUENCES}",
    ),
    Rule("admit", no_cost, "the engine does not know its step times", "calibrate, or simulate"),
)
"""A stack that one of these finds is built, and says so when it starts."""


def check(stack: Stack) -> None:
    """Refuse a stack whose policies do not go together.

    Raises:
        ConfigError: naming the slot and the policies, with the reason and what to do instead.
    """
    for rule in REFUSALS:
        found = rule.find(stack)
        if found:
            raise ConfigError(f"schedule.{rule.slot}", f"{found}: {rule.why}; {rule.instead}")


def cautions(stack: Stack) -> tuple[str, ...]:
    """Return a line for everything about a stack that works and may surprise."""
    found = [(rule, rule.find(stack)) for rule in CAUTIONS]
    return tuple(f"schedule.{rule.slot}: {who}: {rule.why}; {rule.instead}" for rule, who in found if who)
