"""CPU time of the engine between a landing and the next step: none, given by numbers, or measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.core.errors import ConfigError
from penstock.core.plan import StepPlan
from penstock.core.scheduler import Scheduler
from penstock.sim.executor import HostCost
from penstock.sim.simulation import MakeReplica

HELP = (
    "CPU time of scheduler and policies, charged to every step: off; SECONDS[,PER_SEQUENCE], e.g. 2e-3,1e-5; "
    "or measured, by this machine's clock while it simulates"
)
_FORM = "expected off, measured or SECONDS[,PER_SEQUENCE], such as 0.002,1e-5"


class LinearHost:
    """So many seconds a step and so many per sequence in it.

    Args:
        step: seconds per step.
        sequence: seconds per work item.
    """

    def __init__(self, step: float, sequence: float = 0.0) -> None:
        self._step, self._sequence = step, sequence

    def seconds(self, plan: StepPlan) -> float:
        """Return the CPU seconds of a step."""
        return self._step + self._sequence * len(plan.items)


class MeasuredHost:
    """What planning and landing took by a real clock, charged to the next step. Runs then differ a little.

    Args:
        stopwatch: seconds of a real clock; given by the caller, since the simulator has none.
    """

    def __init__(self, stopwatch: Callable[[], float]) -> None:
        self._stopwatch = stopwatch
        self._due = 0.0
        self._began = 0.0
        self.total = 0.0
        """Seconds charged so far."""

    def seconds(self, plan: StepPlan) -> float:
        """Return what has been measured since the last step; called from within planning."""
        spent, self._due = self._due + self._stopwatch() - self._began, 0.0
        self._began = self._stopwatch()
        self.total += spent
        return spent

    def watch(self, scheduler: Scheduler) -> Any:
        """Return the scheduler, its planning and landing timed."""
        return _Watched(scheduler, self)

    def begin(self) -> None:
        """The engine starts to plan."""
        self._began = self._stopwatch()

    def time(self, call: Callable[[], None]) -> None:
        """Do something whose time the next step is charged."""
        began = self._stopwatch()
        call()
        self._due += self._stopwatch() - began


class _Watched:
    """A scheduler whose `plan` and `land` are timed; everything else is the scheduler's."""

    def __init__(self, scheduler: Scheduler, host: MeasuredHost) -> None:
        self._scheduler, self._host = scheduler, host

    def plan(self, now: float) -> StepPlan | None:
        self._host.begin()
        return self._scheduler.plan(now)

    def land(self, result: Any, now: float) -> None:
        self._host.time(lambda: self._scheduler.land(result, now))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)


def parse_host(
    text: str, stopwatch: Callable[[], float] | None = None, field: str = "--cpu-cost"
) -> tuple[HostCost | None, str]:
    """Return what charges CPU time, and a label for results.

    Args:
        text: see `HELP`.
        stopwatch: a real clock, for ``measured``.
        field: flag to name in errors.

    Raises:
        ConfigError: another text, or ``measured`` without a stopwatch.
    """
    if text == "off":
        return None, "not charged"
    if text == "measured":
        if stopwatch is None:
            raise ConfigError(field, "measured needs a clock of the caller's")
        return MeasuredHost(stopwatch), "measured on this machine while simulating"
    try:
        step, sequence = [float(part) for part in (text + ",0").split(",")[:2]]
    except ValueError:
        raise ConfigError(field, f"{_FORM}; got {text!r}") from None
    if not (0 <= step < float("inf") and 0 <= sequence < float("inf")) or text.count(",") > 1:
        raise ConfigError(field, f"{_FORM}; got {text!r}")
    return LinearHost(step, sequence), f"{step:g} s a step and {sequence:g} s a sequence"


def watched(make: MakeReplica, host: HostCost | None) -> MakeReplica:
    """Return a maker of replicas whose schedulers are timed if the host cost is a measured one."""
    if not isinstance(host, MeasuredHost):
        return make

    def timed(*arguments: Any) -> Any:
        replica = make(*arguments)
        replica.core.scheduler = host.watch(replica.core.scheduler)
        return replica

    return timed
