"""Policies by name: our own, and other packages' through the entry-point group ``penstock.policies``.

A slot is configured by one string: ``priority > aged(fcfs, 30s)``. The grammar is
``expr := term (">" term)*`` (lexicographic, order slot only) and ``term := name ["(" arg ("," arg)* ")"]``,
where an argument is a nested expression, a number, or a duration such as ``30s`` or ``500ms``; the last ones
may be given by name, and then be words too: ``vtc(1, 2, lift=artifact)``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Literal

from penstock.core.errors import ConfigError

Slot = Literal["order", "shape", "preempt", "evict", "admit", "reserve", "retain", "route"]
ENTRY_POINT_GROUP = "penstock.policies"

_FACTORIES: dict[tuple[str, str], Callable[..., Any]] = {}
_loaded_plugins = False


def register(slot: Slot, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Class decorator: make a policy selectable as ``name`` in its slot.

    Raises:
        ValueError: the name is taken in that slot.
    """

    def add(factory: Callable[..., Any]) -> Callable[..., Any]:
        if (slot, name) in _FACTORIES:
            raise ValueError(f"{slot} policy {name!r} is registered already")
        _FACTORIES[slot, name] = factory
        return factory

    return add


def names(slot: Slot) -> list[str]:
    """Return the names that the slot knows, sorted."""
    _load_plugins()
    return sorted(name for at, name in _FACTORIES if at == slot)


def name_of(policy: object) -> str:
    """Return the name that a policy is registered as, or its type's."""
    kind = type(policy)
    return next((name for (_, name), factory in _FACTORIES.items() if factory is kind), kind.__name__)


def create(slot: Slot, name: str, args: list[Any], options: dict[str, Any] | None = None) -> Any:
    """Make a policy.

    Raises:
        ConfigError: unknown name, or arguments that the policy does not take.
    """
    _load_plugins()
    factory = _FACTORIES.get((slot, name))
    if factory is None:
        raise ConfigError(f"schedule.{slot}", f"unknown policy {name!r}; there are: {', '.join(names(slot))}")
    try:
        return factory(*args, **(options or {}))
    except (TypeError, ValueError) as e:
        raise ConfigError(f"schedule.{slot}", f"{name}: {e}") from e


def _load_plugins() -> None:
    """Import other packages' policies once; importing them registers them."""
    global _loaded_plugins
    if _loaded_plugins:
        return
    _loaded_plugins = True
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        entry.load()
