"""The simulator runs the real engine: virtual time, determinism, and what a hand can compute."""

from dataclasses import dataclass, field

import pytest

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.policies.route.least_load import LeastLoad
from penstock.policies.route.round_robin import RoundRobin
from penstock.sim.build import capacities, replica_maker
from penstock.sim.events import EventLoop
from penstock.sim.resource import Lane, Pool
from penstock.sim.simulation import Simulation
from penstock.workload.driver import OpenLoop
from penstock.workload.request import Span, TraceRequest

STEP = 0.125


class FixedStep:
    def step(self, shape):
        return STEP


@dataclass
class Notes:
    arrivals: dict = field(default_factory=dict)
    times: dict = field(default_factory=dict)
    ends: dict = field(default_factory=dict)
    lost: list = field(default_factory=list)

    def arrived(self, request, now):
        self.arrivals[request.id] = now

    def tokens(self, request_id, count, now, cached=0):
        self.times.setdefault(request_id, []).extend([now] * count)

    def preempted(self, request_id, now):
        self.lost.append(request_id)

    def finished(self, request_id, now, ok, output, detail):
        assert request_id not in self.ends
        self.ends[request_id] = (now, ok, detail)


def request(number, arrival, prompt=8, output=4, **fields):
    return TraceRequest(
        id=f"r{number}", arrival=arrival, prompt=(Span(number + 1, prompt),), output_tokens=output, **fields
    )


def run(requests, *, replicas=1, route=None, cost=None, depth=0, cache=None, blocks=64, **schedule):
    notes = Notes()
    config = ScheduleConfig(**({"admit": "unlimited", "max_num_batched_tokens": 64} | schedule))
    maker = replica_maker(
        capacities(blocks, page_size=4, slots=8, depth=depth), cost or FixedStep(), config, cache
    )
    simulation = Simulation([maker] * replicas, OpenLoop(requests), notes, route or RoundRobin())
    simulation.run()
    return notes, simulation


def test_times_of_one_request_are_those_that_a_hand_computes():
    notes, _ = run([request(0, 1.0, output=4)])
    assert notes.times["r0"] == [1.0 + STEP * n for n in (1, 2, 3, 4)]
    assert notes.ends["r0"] == (1.0 + 4 * STEP, True, "")


def test_a_request_that_arrives_during_a_step_waits_for_its_end():
    notes, _ = run([request(0, 0.0, output=3), request(1, 0.01, output=1)])
    assert notes.times["r1"] == [2 * STEP]


def test_requests_of_one_moment_share_their_first_step():
    notes, _ = run([request(n, 0.5, output=1) for n in range(5)])
    assert {times[0] for times in notes.times.values()} == {0.5 + STEP}


def test_a_pipeline_hides_nothing_from_the_device_and_delays_no_token():
    alone, _ = run([request(n, 0.0, output=6) for n in range(3)])
    overlapped, _ = run([request(n, 0.0, output=6) for n in range(3)], depth=1)
    assert alone.times == overlapped.times


def test_an_answer_ends_at_its_true_length_or_its_limit():
    notes, _ = run([request(0, 0.0, output=3, max_tokens=10), request(1, 0.0, output=9, max_tokens=2)])
    assert len(notes.times["r0"]) == 3 and len(notes.times["r1"]) == 2


def test_shared_spans_hit_the_prefix_cache_exactly():
    shared = Span(77, 16)
    first = TraceRequest(id="a", arrival=0.0, prompt=(shared, Span(78, 4)), output_tokens=1)
    second = TraceRequest(id="b", arrival=5.0, prompt=(shared, Span(79, 4)), output_tokens=1)
    _, warm = run([first, second])
    assert warm.replicas[0].core.stats().prefix_hit_tokens == 16
    _, cold = run([first, second], cache=CacheConfig(enable_prefix_caching=False))
    assert cold.replicas[0].core.stats().prefix_hit_tokens == 0


def test_a_later_turn_finds_the_answer_of_the_one_before():
    first = TraceRequest(id="a", arrival=0.0, prompt=(Span(7, 8),), output_tokens=9, output_stream=8)
    again = TraceRequest(id="b", arrival=9.0, prompt=(Span(7, 8), Span(8, 9), Span(9, 3)), output_tokens=1)
    _, simulation = run([first, again])
    assert simulation.replicas[0].core.stats().prefix_hit_tokens == 16  # the last token was never computed


def test_refusals_and_routes():
    notes, _ = run([request(0, 0.0, prompt=1000)])
    assert not notes.ends["r0"][1] and "fit the context" in notes.ends["r0"][2]
    requests = [request(n, 0.001 * n, output=50 if n % 2 == 0 else 1) for n in range(8)]
    for route in (RoundRobin(), LeastLoad()):
        notes, simulation = run(requests, replicas=2, route=route)
        assert all(ok for _, ok, _ in notes.ends.values()) and len(notes.ends) == 8
        assert all(replica.outstanding == 0 for replica in simulation.replicas)


def test_the_same_run_twice_is_the_same_preemptions_included():
    requests = [request(n, n * 0.05, prompt=5 + n % 7, output=1 + n % 19) for n in range(60)]
    one, simulation = run(requests, blocks=20)
    two, _ = run(requests, blocks=20)
    assert one == two
    assert len(one.lost) == simulation.replicas[0].core.stats().preemptions > 0


def test_events_of_one_moment_run_in_the_order_of_scheduling():
    loop, seen = EventLoop(), []
    loop.at(2.0, lambda: seen.append("c"))
    loop.at(1.0, lambda: (seen.append("a"), loop.at(0.0, lambda: seen.append("late")))[0])
    loop.at(1.0, lambda: seen.append("b"))
    loop.run()
    assert seen == ["a", "b", "late", "c"] and loop.now() == 2.0


def test_lanes_and_pools_queue():
    lane = Lane(bandwidth=100.0, latency=0.5)
    assert lane.transfer(0.0, 50) == 1.0 and lane.transfer(0.0, 50) == 1.5
    with pytest.raises(ValueError, match="no bandwidth"):
        Lane().transfer(0.0, 1)
    pool = Pool(2)
    assert [pool.reserve(0.0, 1.0) for _ in range(3)] == [1.0, 1.0, 2.0]
