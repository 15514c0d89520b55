"""What a light tenant waits for its first token beside two that ask for too much, simulated.

The world of `vtc_real` without the machine's noise: the bundled model on one AMX core (roofline), 4 sequences
at a time, two tenants above their share, one asking twice as much, and a third at a tenth of the
capacity. About 20 s a seed on one core, 6 s when quick.
"""

from __future__ import annotations

from penstock.cost.spec import load_cost
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.service import Run, ratio, serve
from penstock.sim.build import capacities
from penstock.workload.arrivals import Gamma
from penstock.workload.driver import OpenLoop
from penstock.workload.generate import Client, mix
from penstock.workload.suites.common import fixed

LIGHT = Gamma(3.0, 0.2)
"""Almost even: its own requests seldom meet."""
SLOTS = 4
ORDERS = {
    "fcfs": "fcfs",
    "vtc": "vtc",
    "foothold": "foothold(vtc)",
    "allowance": "foothold(vtc(allowance=1000))",
}


def run(order: str, seed: int, seconds: float, heavy: bool = True) -> Run:
    """Serve the light tenant, alone or beside the others."""
    clients = [Client(tenant="light", arrivals=LIGHT, pairs=fixed(256, 8), begin=1.0, duration=seconds - 1)]
    if heavy:
        clients += [
            Client(tenant=name, arrivals=Gamma(rate), pairs=fixed(64, 64), duration=seconds)
            for name, rate in (("first", 60.0), ("second", 120.0))
        ]
    return serve(
        OpenLoop(mix(clients, seed)),
        load_cost("penstock-chat@cpu-amx-1"),
        capacities(4000, page_size=32, slots=SLOTS),
        until=seconds,
        caching=True,
        order=order,
        max_num_seqs=SLOTS,
    )


def tail(one: Run) -> float:
    """Return the light tenant's P99 TTFT, milliseconds."""
    return float(one.log.by_tenant()["light"]["p99_ttft_ms"])


@experiment(
    "vtc-light",
    row="1",
    system="vtc",
    kind="simulated",
    title="a light tenant's first tokens beside two that oversupply (bundled model, one core)",
    bars=(
        Bar("allowance_over_alone", ceiling=1.5),
        Bar("allowance_ratio", floor=0.95, ceiling=1.05),
        Bar("throughput_of_vtc", floor=0.98),
    ),
)
def light(seed: int, quick: bool) -> dict[str, float]:
    """Admission alone makes it next; a foothold gives it a place; an allowance keeps its bursts short."""
    seconds = 8.0 if quick else 20.0
    lone = tail(run("vtc", seed, 60.0, heavy=False))
    runs = {name: run(order, seed, seconds) for name, order in ORDERS.items()}
    figures = {"p99_alone_ms": lone}
    for name, one in runs.items():
        figures[f"{name}_p99_ms"] = tail(one)
        figures[f"{name}_over_alone"] = tail(one) / lone
        figures[f"{name}_ratio"] = ratio(one.log.served(2, seconds), ("first", "second"))
    through = {name: one.log.throughput(2, seconds) for name, one in runs.items()}
    return figures | {
        "throughput_of_vtc": through["allowance"] / through["vtc"],
        "preemptions": float(runs["allowance"].stats.preemptions),
    }
