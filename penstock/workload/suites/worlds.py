"""Programs whose calls depend on each other: villages of agents, and questions that become SQL."""

from __future__ import annotations

from penstock.core.errors import ConfigError
from penstock.workload.arrivals import check_positive
from penstock.workload.driver import Driver
from penstock.workload.metropolis import LockStep, Oracle, OutOfOrder, SingleThread
from penstock.workload.metropolis_driver import AgentSimulation, Gate
from penstock.workload.metropolis_village import SMALLVILLE_RULES, Replay, VillageSpec, record_village
from penstock.workload.registry import workload
from penstock.workload.text2sql import HABITS, STANDARD, Text2Sql, mean_times, questions


@workload("metropolis")
def metropolis(seed: int, *, agents: int = 25, steps: int = 120, mode: str = "ooo") -> Driver:
    """AI Metropolis: a village of agents, 643 tokens in and 22 out a call; mode=ooo, sync, single or oracle.

    Requests carry their step as priority; the default order serves who is farthest behind first.
    """
    check_positive(agents=agents, steps=steps)
    village = record_village(VillageSpec(agents=agents, steps=steps), seed)
    town = village.town()
    gate: Gate
    if mode == "ooo":
        gate = OutOfOrder(town, steps, SMALLVILLE_RULES)
    elif mode == "oracle":
        gate = Oracle(town, steps, village.met)
    elif mode in ("sync", "single"):
        gate = LockStep(town, steps) if mode == "sync" else SingleThread(town, steps)
    else:
        raise ConfigError("workload.mode", f"expected ooo, sync, single or oracle, got {mode!r}")
    return AgentSimulation(town, Replay(village), gate, SMALLVILLE_RULES)


@workload("text2sql")
def text2sql(
    seed: int,
    *,
    rate: float = 0.06,
    cv: float = 1.0,
    count: int = 100,
    trace: str = "financial",
    scale: float = 1.0,
) -> Driver:
    """Hexgen-Flow: questions of some 16 dependent calls, with shares of one deadline; trace=financial or
    formula1.

    The deadline is ``scale`` times what the standard workflow takes on average.
    """
    check_positive(rate=rate, count=count, scale=scale)
    if trace not in HABITS:
        raise ConfigError("workload.trace", f"expected one of {', '.join(HABITS)}, got {trace!r}")
    times = mean_times()
    deadline = scale * sum(times[name] for name in STANDARD)
    return Text2Sql(questions(trace, rate, count, seed, cv), deadline, times)
