"""Which settings a tuning run tries: values by name, as far as the workload gives them a hold."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from penstock.core.errors import ConfigError
from penstock.policies.registry import names
from penstock.sim.run import Scenario
from penstock.sim.run_source import open_driver
from penstock.sim.sweep import check_policies, vary
from penstock.workload.request import TraceRequest

Settings = dict[str, str]
"""What a candidate changes, as text by name of the setting."""
COUPLED = ("max_num_seqs", "admit")
"""Neither helps an overloaded engine alone: few sequences keep tokens quick, but only who is refused does
not wait. All values of the one are tried with `TIGHT` ones of the other."""
TIGHT = ("queue-bound(8)", "queue-bound(32)")
LOOK = 400
"""Requests looked at to learn what they carry."""


class Traits(NamedTuple):
    """What a workload's requests carry, so that policies can go by it."""

    tenants: int
    priorities: int
    scores: bool
    """Predicted lengths."""
    objectives: bool
    programs: bool
    groups: bool

    def lacking(self) -> list[str]:
        """Return in words what there is none of, with the policies that are therefore left out."""
        found = {
            "several tenants (vtc, dlpm)": self.tenants > 1,
            "predicted lengths (sjf, ltr)": self.scores,
            "objectives on requests (edf, the slo shape, deadline admission)": self.objectives,
            "programs (program-fcfs, ttl, continuum)": self.programs,
            "prefix groups (prefix-groups)": self.groups,
        }
        return [what for what, there in found.items() if not there]


class _Peek:
    """A world without an engine: collects the first requests that a driver sends by itself."""

    def __init__(self) -> None:
        self.requests: list[TraceRequest] = []
        self._time = 0.0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []

    def now(self) -> float:
        return self._time

    def submit(self, request: TraceRequest) -> None:
        self.requests.append(request)

    def at(self, time: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (time, len(self._timers) + len(self.requests), call))

    def run(self) -> None:
        while self._timers and len(self.requests) < LOOK:
            self._time, _, call = heapq.heappop(self._timers)
            call()


def traits_of(scenario: Scenario) -> Traits:
    """Look at the first requests of a workload.

    Raises:
        ConfigError: the workload cannot be read.
    """
    world = _Peek()
    open_driver(scenario.workload, seed=scenario.seed, rate=scenario.rate, limit=LOOK).begin(world)
    world.run()
    seen = world.requests
    return Traits(
        tenants=len({one.tenant for one in seen}),
        priorities=len({one.priority for one in seen}),
        scores=any(one.length_score is not None for one in seen),
        objectives=any(one.slo is not None for one in seen),
        programs=any(one.program is not None for one in seen),
        groups=any(one.group is not None for one in seen),
    )


def space_of(traits: Traits, given: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the values to try per setting; those given replace ours.

    Policies that need what the requests do not carry are left out, and so are names that are not registered.
    """
    wide = {
        "order": _orders(traits),
        "shape": ["chunked", "splitfuse", "prefill-first", *(["slo"] if traits.objectives else [])],
        "max_num_seqs": ["4", "8", "16", "32", "64", "128", "256", "512"],
        "max_num_batched_tokens": ["0", "128", "256", "512", "1024", "2048", "4096", "8192"],
        "admit": [
            "queue-bound(4096)",
            *(f"queue-bound({bound})" for bound in (2, 8, 32, 128, 512)),
            *(["deadline"] if traits.objectives else []),
        ],
        "reserve": ["known", "peak", "final"],
        "preempt": ["least-loss", "newest"],
        "retain": ["none", *(["ttl(2s)", "ttl(10s)", "continuum"] if traits.programs else [])],
        "evict": list(names("evict")),
        "prefix_wait": ["true", "false"],
    }
    if traits.groups:
        wide["retain"].append("groups")
    for setting in ("order", "shape", "admit", "reserve", "preempt", "retain"):
        wide[setting] = [value for value in wide[setting] if _known(setting, value)]
    return wide | given


def _orders(traits: Traits) -> list[str]:
    first = "priority > " if traits.priorities > 1 else ""
    plain = ["fcfs", "lpm", "mlfq", "aged(lpm, 10s)"]
    plain += ["vtc", "dlpm"] if traits.tenants > 1 else []
    plain += ["sjf", "aged(sjf, 30s)", "ltr"] if traits.scores else []
    plain += ["edf", "edf-feasible"] if traits.objectives else []
    plain += ["program-fcfs"] if traits.programs else []
    plain += ["prefix-groups"] if traits.groups else []
    return [first + order for order in plain]


def _known(slot: str, text: str) -> bool:
    """Whether every policy named in a string is there."""
    there = set(names(slot))  # type: ignore[arg-type]
    words = [word.strip() for word in text.replace("(", " ").replace(",", " ").replace(">", " ").split()]
    return all(word.rstrip(")") in there or word[0].isdigit() for word in words)


def apply(scenario: Scenario, settings: Settings) -> Scenario | None:
    """Return the scenario with the settings, or None if they do not go together."""
    try:
        for name, value in settings.items():
            scenario = vary(scenario, name, value)
        check_policies(scenario)
    except ConfigError:
        return None
    return scenario


def first_round(
    space: dict[str, list[str]], default: Settings, extra: int, rng: np.random.Generator
) -> list[Settings]:
    """Return the default, its changes by one setting, `COUPLED` pairs and random compositions."""
    found = [default]
    for name, values in space.items():
        found += [default | {name: value} for value in values if value != default[name]]
    (few, tight) = COUPLED
    for value in space.get(few, []):
        for bound in [bound for bound in space.get(tight, []) if bound in TIGHT]:
            found.append(default | {few: value, tight: bound})
    for _ in range(extra):
        found.append({name: values[int(rng.integers(len(values)))] for name, values in space.items()})
    return unlike(found)


def unlike(many: Iterable[Settings]) -> list[Settings]:
    """Return each candidate once, in order."""
    return list({tuple(sorted(one.items())): one for one in many}.values())


def changes(settings: Settings, default: Settings) -> Settings:
    """Return what a candidate changes of the default."""
    return {name: value for name, value in settings.items() if value != default[name]}


def crossed(ranked: Sequence[Settings], default: Settings, most: int) -> list[Settings]:
    """Return unions of what good candidates change; where both change a setting, as the better one does."""
    found = []
    for at, worse in enumerate(ranked):
        for better in ranked[:at]:
            found.append(worse | changes(better, default))
    every = dict(default)
    for one in reversed(ranked):
        every |= changes(one, default)
    return unlike([every, *found])[:most]


def stacks(scored: Sequence[tuple[Settings, float]], default: Settings) -> list[Settings]:
    """Return compositions that stack the best single changes, the most worthwhile first.

    Args:
        scored: candidates with scores; those that change one setting alone tell what it is worth.
        default: where every stack begins.
    """
    base = next((score for one, score in scored if one == default), 0.0)
    best: dict[str, tuple[float, str]] = {}
    for one, score in scored:
        mine = changes(one, default)
        if len(mine) == 1 and score > base:
            ((name, value),) = mine.items()
            best[name] = max(best.get(name, (0.0, "")), (score, value))
    found, stack = [], dict(default)
    for name, (_, value) in sorted(best.items(), key=lambda item: (-item[1][0], item[0])):
        stack = stack | {name: value}
        found.append(stack)
    return found


def neighbours(settings: Settings, space: dict[str, list[str]]) -> list[Settings]:
    """Return every composition that differs in one setting."""
    return unlike(settings | {name: value} for name, values in space.items() for value in values)


def steps(settings: Settings, space: dict[str, list[str]]) -> list[Settings]:
    """Return the compositions with one budget a step larger or smaller."""
    found = []
    for name, values in space.items():
        if settings[name] in values and all(value.isdigit() for value in values):
            at = values.index(settings[name])
            found += [settings | {name: value} for value in values[max(0, at - 1) : at + 2]]
    return unlike(found)


def as_texts(scenario: Scenario, space: dict[str, list[str]]) -> Settings:
    """Return a scenario's own values of the settings in a space, as text."""
    plain = msgspec.to_builtins(scenario.cache) | msgspec.to_builtins(scenario.schedule)
    own = {name: plain.get(name, getattr(scenario, name, "")) for name in space}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in own.items()
    }
