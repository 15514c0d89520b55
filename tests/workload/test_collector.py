"""Every figure of the collector against three requests worked out by hand, in both modes."""

import random
import sys

import numpy as np
import pytest

from penstock.core.output import Finish, FinishReason, Output, Timeline
from penstock.core.request import SLO, Turn
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest


def request(name, prompt=10, output=4, **rest):
    return TraceRequest(id=name, arrival=0.0, prompt=(Span(1, prompt),), output_tokens=output, **rest)


def end(scheduled=0.0, preemptions=0):
    timeline = Timeline(first_scheduled=scheduled)
    return Output("", finish=Finish(FinishReason.LENGTH, timeline=timeline, preemptions=preemptions))


def three(mode="light", **rest):
    """A: 4 tokens with a stall; B: one token; C: thinks for one of its two tokens, was preempted for 1.5
    s."""
    made = Collector(mode, **rest)
    made.arrived(request("a", 512, tenant="x", slo=SLO(ttft=0.6)), 10.0)
    made.tokens("a", 1, 10.5, cached=100)
    made.tokens("a", 1, 10.75)
    made.arrived(request("b", 7, tenant="y", slo=SLO(ttft=0.6), program="p", turn=Turn(index=0)), 11.0)
    made.tokens("a", 1, 11.0)
    made.tokens("b", 1, 12.0)
    made.finished("b", 12.0, True, end(11.25))
    made.arrived(request("c", 1, think_tokens=1, program="p", turn=Turn(index=1, last=True)), 12.0)
    made.tokens("c", 1, 12.25)
    made.tokens("a", 1, 12.5)
    made.finished("a", 12.5, True, end(10.25))
    made.preempted("c", 12.75)
    made.tokens("c", 1, 14.25)
    made.finished("c", 14.25, True, end(preemptions=1))
    return made


@pytest.mark.parametrize("mode", ["light", "exact"])
def test_three_requests_by_hand(mode):
    made = three(mode)
    figures = made.summary({"ttft": 0.6, "tpot": 1.0}, (50, 90, 100))
    assert figures["duration"] == pytest.approx(4.25)
    assert (figures["completed"], figures["failed"], figures["unfinished"]) == (3, 0, 0)
    assert (figures["total_input_tokens"], figures["total_output_tokens"]) == (520, 7)
    assert figures["total_cached_tokens"] == 100
    assert figures["request_throughput"] == pytest.approx(3 / 4.25)
    assert figures["mean_ttft_ms"] == pytest.approx((500 + 1000 + 250) / 3)
    assert figures["median_ttft_ms"] == pytest.approx(500)
    assert figures["p100_ttft_ms"] == pytest.approx(1000)
    assert figures["mean_tpot_ms"] == pytest.approx(1000 * (2 / 3 + 2) / 2)  # b has none
    assert figures["mean_e2el_ms"] == pytest.approx((2500 + 1000 + 2250) / 3)
    assert figures["mean_normalized_latency_ms"] == pytest.approx((625 + 1000 + 1125) / 3)
    assert figures["mean_scheduling_delay_ms"] == pytest.approx(250)
    assert figures["mean_ttfvt_ms"] == pytest.approx((500 + 1000 + 2250) / 3)
    assert figures["mean_max_wait_ms"] == pytest.approx((1500 + 1000 + 2000) / 3)
    assert figures["mean_preemption_loss_ms"] == pytest.approx(1500)
    assert figures["preemptions"] == 1
    assert (figures["jobs"], figures["mean_jct_ms"]) == (1, pytest.approx(3250))
    assert figures["mean_itl_ms"] == pytest.approx(1000 * (0.25 + 0.25 + 1.5 + 2.0) / 4)
    assert figures["median_itl_ms"] == pytest.approx(250, rel=0.005)
    assert figures["p90_itl_ms"] == pytest.approx(2000, rel=0.005)
    assert figures["slo_attainment_ttft"] == pytest.approx(2 / 3)
    assert figures["slo_attainment_tpot"] == pytest.approx(2 / 3)
    assert figures["slo_attainment"] == pytest.approx(1 / 3)
    assert figures["request_goodput"] == pytest.approx(1 / 4.25)
    assert figures["own_slo_attainment"] == 0.5
    assert figures["unstable"] == 0
    # a: 512 + 8, b: 7 + 2, c: 1 + 4 service units.
    assert figures["jain"] == pytest.approx(534**2 / (3 * (520**2 + 9**2 + 5**2)))
    assert figures["max_service_difference"] == pytest.approx(515)
    # Scaled limits: a needs max(.5/.6, (2/3)/1), b 1/.6, c 2/1.
    assert made.slo_scale({"ttft": 0.6, "tpot": 1.0}, 2 / 3) == pytest.approx(1 / 0.6)


def test_tenants_are_reported_apart():
    tenants = three().by_tenant({"ttft": 0.6})
    assert set(tenants) == {"x", "y", "default"}
    assert tenants["x"]["service"] == pytest.approx(520)
    assert tenants["x"]["mean_ttft_ms"] == pytest.approx(500)
    assert (tenants["x"]["slo_attainment"], tenants["y"]["slo_attainment"]) == (1.0, 0.0)


def test_service_may_leave_cached_tokens_out():
    assert three(count_cached=False).by_tenant()["x"]["service"] == pytest.approx(420)


def test_effective_rate_of_fastgen():
    made = three("exact")
    # Prompt limits: a 1 s (met), b 7/512 s and c 1/512 s (missed). a's gaps .25, .25, 1.5 average to .375
    # at worst.
    assert made.effective_rate(2.0) == pytest.approx(1 / 4.25)
    assert made.effective_rate(4.0) == 0.0
    with pytest.raises(ValueError, match="exact"):
        three().effective_rate(2.0)
    assert list(made.token_times["a"]) == [10.5, 10.75, 11.0, 12.5]


@pytest.mark.parametrize("mode", ["light", "exact"])
def test_failed_and_unfinished_requests_violate_every_objective(mode):
    made = three(mode)
    made.arrived(request("d"), 12.0)
    made.finished("d", 13.0, False, None, "overload")
    made.arrived(request("e"), 12.0)
    figures = made.summary({"ttft": 10.0})
    assert (figures["completed"], figures["failed"], figures["unfinished"]) == (3, 1, 1)
    assert figures["slo_attainment"] == pytest.approx(3 / 5)
    assert made.details == {"overload": 1}
    assert made.slo_scale({"ttft": 1.0}, 0.9) == np.inf


def test_warm_up_and_cool_down_leave_requests_out():
    figures = three(warmup=0.5).summary()
    assert figures["completed"] == 2
    assert figures["mean_ttft_ms"] == pytest.approx(625)
    assert figures["mean_itl_ms"] == pytest.approx(2000)
    assert three(cooldown=0.5).summary()["completed"] == 2


def test_attainment_does_not_depend_on_the_order():
    rng = random.Random(1)
    requests = [(f"r{i}", rng.random() * 50, rng.expovariate(1.0), rng.randint(1, 9)) for i in range(60)]

    def run(order):
        made = Collector()
        for name, arrival, delay, count in order:
            made.arrived(request(name), arrival)
            for step in range(count):
                made.tokens(name, 1, arrival + delay * (1 + step / 3))
            made.finished(name, arrival + delay * (1 + (count - 1) / 3), True)
        made.first_arrival, made.last_arrival = 0.0, 50.0
        return made.summary({"ttft": 0.7, "tpot": 0.3})

    expected = run(requests)
    rng.shuffle(requests)
    again = run(requests)
    assert {key: again[key] for key in expected if "slo" in key or "ttft" in key or "goodput" in key} == (
        pytest.approx(
            {key: v for key, v in expected.items() if "slo" in key or "ttft" in key or "goodput" in key}
        )
    )


def test_an_empty_run_has_the_same_keys():
    assert set(Collector().summary({"ttft": 1.0})) == set(three().summary({"ttft": 1.0})) - {
        "own_slo_attainment"
    }


def test_light_mode_is_small():
    """Peak below 300 bytes a request, live objects of finished ones included; a kept token time would
    show."""
    import tracemalloc

    made, spans = Collector(), (Span(1, 10),)
    tracemalloc.start()
    for i in range(20_000):
        name = str(i)
        made.arrived(TraceRequest(id=name, arrival=i / 100, prompt=spans, output_tokens=50), i / 100)
        for step in range(5):
            made.tokens(name, 1, i / 100 + step)
        made.finished(name, i / 100 + 5, True)
    made.summary()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    fixed = sys.getsizeof(made._gaps) * 3 + (1 << 16) * 8 * 8
    assert (peak - fixed) / 20_000 < 300


def test_programs_cut_short_give_no_completion_time():
    made = Collector()
    made.arrived(request("a", program="p", turn=Turn(last=True)), 0.0)
    made.finished("a", 1.0, False, None, "client")
    assert made.summary()["jobs"] == 0
