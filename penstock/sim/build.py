"""Replicas from the configuration that `serve` takes, a cost model and a device's capacities."""

from __future__ import annotations

from collections.abc import Callable

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import PenstockError
from penstock.core.executor import ExecutorSpec
from penstock.core.output import Output
from penstock.core.policy import StepCost
from penstock.core.request import RequestSpec
from penstock.engine.core import build_engine
from penstock.sim.events import EventLoop
from penstock.sim.executor import Answer, HostCost, SimExecutor, StepSeen
from penstock.sim.replica import Replica
from penstock.sim.simulation import MakeReplica

VOCABULARY = 1 << 62
"""Simulated token ids are any whole numbers."""


def capacities(
    blocks: int,
    *,
    page_size: int = 16,
    slots: int = 256,
    max_model_len: int = 131072,
    depth: int = 0,
    layers: int = 0,
) -> ExecutorSpec:
    """Return the spec of a simulated device.

    Args:
        blocks: KV blocks in its memory.
        page_size: tokens per block.
        slots: sequences resident at once.
        max_model_len: longest sequence.
        depth: steps in flight besides the one collected.
        layers: of the model, for shapes that split prefill along them; 0 refuses those.
    """
    return ExecutorSpec(
        slots=slots,
        blocks=blocks,
        page_size=page_size,
        max_model_len=min(max_model_len, blocks * page_size),
        vocab_size=VOCABULARY,
        pipeline_depth=depth,
        layers=layers,
    )


def replica_maker(
    spec: ExecutorSpec,
    cost: StepCost,
    schedule: ScheduleConfig,
    cache: CacheConfig | None = None,
    host: HostCost | None = None,
    observe: Callable[[StepSeen], None] | None = None,
    ready: Callable[[float, int], float] | None = None,
) -> MakeReplica:
    """Return what `Simulation` makes one replica with.

    Args:
        spec: capacities of the device.
        cost: step times; policies that ask for them see the same object.
        schedule: budgets and policies, as for `serve`.
        cache: for ``enable_prefix_caching``.
        host: CPU time charged per step.
        observe: called with every step.
        ready: CPU time between steps; see `Replica`.

    Raises:
        ConfigError: (by what is returned) a policy string cannot be read or used.
    """

    def make(
        number: int,
        loop: EventLoop,
        answers: dict[str, Answer],
        deliver: Callable[[Replica, list[Output]], None],
        refuse: Callable[[RequestSpec, PenstockError], None],
    ) -> Replica:
        executor = SimExecutor(spec, cost, loop.clock, answers, host, observe)
        core = build_engine(executor, schedule, cache, loop.clock, cost=cost)
        return Replica(number, core, executor, loop, deliver, refuse, ready)

    return make
