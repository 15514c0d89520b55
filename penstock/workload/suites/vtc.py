"""The suites of VTC (OSDI'24): clients with given rates, lengths and habits.

Rates in requests per second are the paper's; its synthetic clients send evenly unless said otherwise.
``rate`` rescales all clients to that total, ``duration`` is in seconds. Where the paper's text leaves a
number open, ours is named in the suite's docstring.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from penstock.workload.arrivals import Arrivals, Gamma, OnOff, Ramp
from penstock.workload.driver import Driver, OpenLoop
from penstock.workload.generate import Client, mix
from penstock.workload.lengths import Joint
from penstock.workload.registry import workload
from penstock.workload.request import TraceRequest
from penstock.workload.suites.common import fixed, pairs

MINUTES = 60.0


def _client(
    number: int, rate: float, prompt: int = 256, output: int = 256, weight: float = 1.0, cv: float = 0.0
) -> Client:
    return Client(
        tenant=f"client{number}", arrivals=Gamma(rate, cv), pairs=fixed(prompt, output), weight=weight
    )


def _faster(arrivals: Arrivals, factor: float) -> Arrivals:
    if isinstance(arrivals, Ramp):
        return Ramp(arrivals.start * factor, arrivals.end * factor, arrivals.over, arrivals.cv)
    assert isinstance(arrivals, Gamma | OnOff)
    if isinstance(arrivals, Gamma):
        return Gamma(arrivals.rate * factor, arrivals.cv)
    return OnOff(arrivals.rate * factor, arrivals.on, arrivals.off, arrivals.cv)


def _mean(arrivals: Arrivals) -> float:
    if isinstance(arrivals, Ramp):
        return (arrivals.start + arrivals.end) / 2
    assert isinstance(arrivals, Gamma | OnOff)
    if isinstance(arrivals, OnOff):
        return arrivals.rate * arrivals.on / (arrivals.on + arrivals.off)
    return arrivals.rate


def _run(clients: Sequence[Client], seed: int, rate: float, duration: float) -> Driver:
    """Return the driver of the clients; evenly sending ones begin at a random phase, so that seeds differ."""
    factor = rate / sum(_mean(client.arrivals) for client in clients) if rate else 1.0
    phases = np.random.default_rng(seed).random(len(clients)).tolist()
    placed = [_placed(client, factor, phase, duration) for client, phase in zip(clients, phases, strict=True)]
    return OpenLoop(mix(placed, seed))


def _placed(client: Client, factor: float, phase: float, duration: float) -> Client:
    arrivals = _faster(client.arrivals, factor)
    begin = client.begin + phase / _mean(arrivals)
    return msgspec.structs.replace(
        client, arrivals=arrivals, begin=begin, duration=min(client.duration, duration - begin)
    )


@workload("vtc-overload")
def overload(seed: int, *, rate: float = 0.0, duration: float = 6 * MINUTES) -> Driver:
    """VTC: two clients, 1.5 and 3 requests/s, 256/256 tokens, both above their share."""
    return _run([_client(1, 1.5), _client(2, 3.0)], seed, rate, duration)


@workload("vtc-overload-multi")
def overload_multi(seed: int, *, rate: float = 0.0, duration: float = 6 * MINUTES) -> Driver:
    """VTC: eight clients, three at 0.4 and five at 0.6 requests/s."""
    return _run([_client(i, 0.4 if i < 3 else 0.6) for i in range(8)], seed, rate, duration)


@workload("vtc-weighted")
def weighted(seed: int, *, rate: float = 0.0, duration: float = 6 * MINUTES) -> Driver:
    """VTC: four clients of weights 1 to 4 at 0.8, 0.8, 1.2 and 1.6 requests/s."""
    rates = (0.8, 0.8, 1.2, 1.6)
    return _run([_client(i + 1, r, weight=i + 1.0) for i, r in enumerate(rates)], seed, rate, duration)


@workload("vtc-proportional")
def proportional(seed: int, *, rate: float = 0.0, duration: float = 6 * MINUTES) -> Driver:
    """VTC: three clients at 0.25, 0.5 and 1.5 requests/s; two below their share."""
    return _run([_client(i + 1, r) for i, r in enumerate((0.25, 0.5, 1.5))], seed, rate, duration)


@workload("vtc-increase")
def increase(seed: int, *, rate: float = 0.0, duration: float = 10 * MINUTES) -> Driver:
    """VTC: one client at 0.5 requests/s, another growing from 0.2 to 2."""
    rising = Client(tenant="client2", arrivals=Ramp(0.2, 2.0, duration, 0.0), pairs=fixed(256, 256))
    return _run([_client(1, 0.5), rising], seed, rate, duration)


@workload("vtc-on-off-less")
def on_off_less(seed: int, *, rate: float = 0.0, duration: float = 10 * MINUTES) -> Driver:
    """VTC: one client at 0.5 requests/s, 60 s on and 60 s off, below its share; another always at 2."""
    pausing = Client(tenant="client1", arrivals=OnOff(0.5, 60.0, 60.0, 0.0), pairs=fixed(256, 256))
    return _run([pausing, _client(2, 2.0)], seed, rate, duration)


@workload("vtc-on-off-overload")
def on_off_overload(seed: int, *, rate: float = 0.0, duration: float = 10 * MINUTES) -> Driver:
    """VTC: one client at 2 requests/s, 60 s on and 60 s off, above its share when on; another always at 3."""
    pausing = Client(tenant="client1", arrivals=OnOff(2.0, 60.0, 60.0, 0.0), pairs=fixed(256, 256))
    return _run([pausing, _client(2, 3.0)], seed, rate, duration)


@workload("vtc-poisson-short-long")
def poisson_short_long(seed: int, *, rate: float = 0.0, duration: float = 10 * MINUTES) -> Driver:
    """VTC: Poisson clients, 8 requests/s of 64/64 tokens and 1.5 of 256/256."""
    return _run([_client(1, 8.0, 64, 64, cv=1.0), _client(2, 1.5, 256, 256, cv=1.0)], seed, rate, duration)


@workload("vtc-short-long")
def short_long(seed: int, *, rate: float = 0.0, duration: float = 10 * MINUTES) -> Driver:
    """VTC: prompts of 32 with answers of 512, against 512 with 32; 2 requests/s each (the rates are ours)."""
    return _run([_client(1, 2.0, 32, 512, cv=1.0), _client(2, 2.0, 512, 32, cv=1.0)], seed, rate, duration)


@workload("vtc-shift")
def shift(seed: int, *, rate: float = 0.0, duration: float = 15 * MINUTES) -> Driver:
    """VTC: two clients change their habits in three equal phases: on/off below, on/off above, both above
    share."""
    third = duration / 3
    phases: list[tuple[Arrivals, Arrivals]] = [
        (OnOff(0.5, 60.0, 60.0, 0.0), Gamma(2.0, 0.0)),
        (OnOff(2.0, 60.0, 60.0, 0.0), Gamma(3.0, 0.0)),
        (Gamma(1.5, 0.0), Gamma(3.0, 0.0)),
    ]
    factor = 3 * rate / sum(_mean(one) for both in phases for one in both) if rate else 1.0
    first = np.random.default_rng(seed).random(2).tolist()
    clients = [
        Client(
            tenant=f"client{number + 1}",
            arrivals=_faster(arrivals, factor),
            pairs=fixed(256, 256),
            begin=phase * third + first[number] / (factor * _mean(arrivals)),
            duration=third - 1 / (factor * _mean(arrivals)),
        )
        for phase, both in enumerate(phases)
        for number, arrivals in enumerate(both)
    ]
    return OpenLoop(_renamed(mix(clients, seed)))


def _renamed(source: Iterator[TraceRequest]) -> Iterator[TraceRequest]:
    """Number requests anew: a client's phases would repeat its ids."""
    for number, request in enumerate(source):
        yield msgspec.structs.replace(request, id=f"{request.tenant}-{number}")


@workload("vtc-arena")
def arena(seed: int, *, rate: float = 3.5, duration: float = 10 * MINUTES, clients: int = 27) -> Driver:
    """VTC's arena trace in kind: many clients of power-law rates, 3.5 requests/s in all, lengths up to 1024
    (ours)."""
    shares = np.arange(1, clients + 1, dtype=float) ** -1.0
    shares /= shares.sum()
    lengths = pairs("lognormal:140:1.2", "lognormal:260:0.8", longest=1024)
    return OpenLoop(
        mix(
            [
                Client(tenant=f"client{i}", arrivals=Gamma(rate * share), pairs=lengths, duration=duration)
                for i, share in enumerate(shares.tolist())
            ],
            seed,
        )
    )


@workload("vtc-lengths")
def ablation(seed: int, *, rate: float = 0.0, tokens: int = 256, duration: float = 6 * MINUTES) -> Driver:
    """VTC's ablation of request length: the overload suite with prompts and answers of 128 to 768 tokens."""
    return _run([_client(1, 1.5, tokens, tokens), _client(2, 3.0, tokens, tokens)], seed, rate, duration)


@workload("vtc-staircase")
def staircase(seed: int, *, rate: float = 4.0, pool: int = 400, duration: float = 2 * MINUTES) -> Driver:
    """Answers of pool/1, pool/2, pool/3... tokens against plain ones: the worst case of peak admission."""
    outputs = np.array([max(1, pool // k - 1) for k in range(1, 1 + math.isqrt(pool))], dtype=np.int64)
    stairs = Joint(np.ones_like(outputs), outputs)
    return OpenLoop(
        mix(
            [
                Client(tenant="client1", arrivals=Gamma(rate / 2), pairs=stairs, duration=duration),
                Client(tenant="client2", arrivals=Gamma(rate / 2), pairs=fixed(8, 8), duration=duration),
            ],
            seed,
        )
    )
