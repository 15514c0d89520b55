"""Metrics of one request, of the engine, and under other names."""

from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.observe import Metrics, RequestMeter, buckets


def scrape(metrics, seen=None):
    values = {}
    for family in text_string_to_metric_families(metrics.render(seen).decode()):
        for sample in family.samples:
            values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return values


def value(values, name, **labels):
    return values[name, tuple(sorted({"model_name": "m", **labels}.items()))]


MINE = {"tenant": "default", "priority": "normal"}
"""Labels of requests that name neither tenant nor priority."""
WITH_TENANT = (
    *("time_to_first_token_seconds", "inter_token_latency_seconds", "request_queue_time_seconds"),
    *("request_time_per_output_token_seconds", "e2e_request_latency_seconds"),
)


LINE = SimpleNamespace(arrival=10.0, first_scheduled=10.5, first_token=11.0, last_token=13.0, finished=13.1)
STATS = SimpleNamespace(
    refused=7, preempted_for={"growth": 1},
    running=1, waiting=2, blocks_total=10, blocks_free=4, blocks_reclaimable=1, blocks_pinned=3,
    pins_made=6, pins_returned=5, pins_given_up=1, prefix_query_tokens=30,
    prefix_hit_tokens=12, prompt_tokens=9, generated_tokens=3, preemptions=1, recomputed_tokens=5, steps=4,
    submitted=2, finished={"stop": 1}, waiting_by_reason={"blocks": 2}, last_step_tokens=8,
    step_tokens=40, step_sizes=(1, 0, 2, 1),
)  # fmt: skip
SEEN = SimpleNamespace(
    stats=STATS, failed_steps=2, admitted=3,
    tenants=[SimpleNamespace(tenant="default", running=1, waiting=0),
             SimpleNamespace(tenant="(other)", running=0, waiting=2)],
    step_seconds=SimpleNamespace(bounds=(0.1, 1.0), counts=(1, 2, 1), total=6.5),
    host_seconds=SimpleNamespace(bounds=(0.1, 1.0), counts=(4, 0, 0), total=0.1),
)  # fmt: skip


def test_a_sequence_is_recorded_from_its_milestones():
    metrics = Metrics("m")
    meter = RequestMeter(metrics, prompt_tokens=7, max_tokens=5, began=99.0)
    meter.cached_tokens = 4
    meter.delta(1, 100.0)
    meter.delta(2, 101.0)
    meter.delta(0, 150.0)
    meter.delta(2, 102.0)
    assert value(scrape(metrics), "penstock:time_to_first_token_seconds_count", **MINE) == 1, (
        "not before the end"
    )
    meter.finish("length", LINE, preemptions=2, now=102.1)
    meter.finish("abort", LINE)
    values = scrape(metrics)
    for name, expected in {
        "time_to_first_token_seconds": 1.0,
        "request_queue_time_seconds": 0.5,
        "request_prefill_time_seconds": 0.5,
        "request_decode_time_seconds": 2.0,
        "request_inference_time_seconds": 2.5,
        "e2e_request_latency_seconds": 3.1,
        "request_time_per_output_token_seconds": 0.5,
        "request_prompt_tokens": 7,
        "request_generation_tokens": 5,
        "request_params_max_tokens": 5,
        "request_num_preemptions": 2,
    }.items():
        who = MINE if name in WITH_TENANT else {}
        assert value(values, f"penstock:{name}_count", **who) == 1
        assert value(values, f"penstock:{name}_sum", **who) == pytest.approx(expected), name
    assert value(values, "penstock:inter_token_latency_seconds_count", **MINE) == 4
    assert value(values, "penstock:inter_token_latency_seconds_sum", **MINE) == pytest.approx(2.0)
    assert value(values, "penstock:request_success_total", finished_reason="length", **MINE) == 1
    assert value(values, "penstock:request_success_total", finished_reason="abort", **MINE) == 0
    assert value(values, "penstock:prompt_tokens_total", **MINE) == 7
    assert value(values, "penstock:prompt_tokens_cached_total", **MINE) == 4
    assert value(values, "penstock:generation_tokens_total", **MINE) == 5
    assert value(values, "penstock:prompt_tokens_by_source_total", source="local_compute") == 3


def test_a_sequence_that_never_ran_has_no_latencies():
    metrics = Metrics("m")
    RequestMeter(metrics, 7, began=0.0).finish("abort")
    values = scrape(metrics)
    assert value(values, "penstock:request_success_total", finished_reason="abort", **MINE) == 1
    assert value(values, "penstock:time_to_first_token_seconds_count", **MINE) == 0
    assert value(values, "penstock:e2e_request_latency_seconds_count", **MINE) == 0


def test_engine_figures_appear_at_scrape_and_only_then():
    metrics = Metrics("m")
    assert not any("num_requests_running" in name for name, _ in scrape(metrics))
    values = scrape(metrics, SEEN)
    for prefix, labels in (("penstock:", {}), ("vllm:", {"engine": "0"})):
        assert value(values, f"{prefix}num_requests_running", **labels) == 1
        assert value(values, f"{prefix}num_requests_waiting", **labels) == 2
        assert value(values, f"{prefix}prefix_cache_queries_total", **labels) == 30
        assert value(values, f"{prefix}prefix_cache_hits_total", **labels) == 12
        assert value(values, f"{prefix}num_preemptions_total", **labels) == 1
        assert value(values, f"{prefix}kv_cache_usage_perc", **labels) == pytest.approx(0.5)
        sizes = {bound: value(values, f"{prefix}iteration_tokens_total_bucket", le=bound, **labels)
                 for bound in ("1.0", "2.0", "4.0", "+Inf")}  # fmt: skip
        assert sizes == {"1.0": 1, "2.0": 1, "4.0": 3, "+Inf": 4}
        assert value(values, f"{prefix}iteration_tokens_total_sum", **labels) == 40
    assert value(values, "penstock:num_admissions_blocked_total", reason="blocks") == 2
    assert value(values, "penstock:engine_generated_tokens_total") == 3
    assert value(values, "penstock:tenant_requests_waiting", tenant="(other)") == 2
    assert value(values, "penstock:step_faults_total") == 2
    seconds = {bound: value(values, "penstock:engine_step_seconds_bucket", le=bound)
               for bound in ("0.1", "1.0", "+Inf")}  # fmt: skip
    assert seconds == {"0.1": 1, "1.0": 3, "+Inf": 4}
    assert value(values, "penstock:scheduler_step_seconds_sum") == pytest.approx(0.1)


def test_decisions_name_their_policy():
    values = scrape(Metrics("m", policies={"admit": "queue-bound(8)", "preempt": "newest"}), SEEN)
    decided = {
        (dict(labels)["slot"], dict(labels)["policy"], dict(labels)["decision"]): count
        for (name, labels), count in values.items()
        if name == "penstock:policy_decisions_total"
    }
    assert decided == {
        ("admit", "queue-bound(8)", "accepted"): 2, ("admit", "queue-bound(8)", "refused"): 7,
        ("order", "", "admitted"): 3, ("preempt", "newest", "growth"): 1, ("preempt", "newest", "rank"): 0,
    }  # fmt: skip


def test_an_engine_that_does_not_answer_leaves_the_front_and_its_state():
    metrics = Metrics("m", cache={"block_size": "16"})
    values = {}
    for family in text_string_to_metric_families(metrics.render(None, "restarting", 2).decode()):
        for sample in family.samples:
            values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    assert value(values, "penstock:engine_up") == 0
    assert value(values, "penstock:engine_restarts_total") == 2
    assert value(values, "vllm:cache_config_info", block_size="16", engine="0") == 1
    assert value(values, "penstock:prompt_tokens_total", **MINE) == 0


def test_tenants_with_series_of_their_own_are_bounded():
    metrics = Metrics("m", tenants=2)
    metrics.tenants.configure(["gold"])
    for tenant, priority in [("a", 0), ("b", -3), ("c", 0), ("d", 4), ("gold", 0), ("c", 0), ("a", 0)]:
        RequestMeter(metrics, 10, began=0.0, tenant=tenant, priority=priority).delta(1, 1.0)
    values = scrape(metrics)
    counts = {
        (dict(labels)["tenant"], dict(labels)["priority"]): count / 10
        for (name, labels), count in values.items()
        if name == "penstock:prompt_tokens_total"
    }
    assert counts == {
        ("default", "normal"): 0, ("a", "normal"): 2, ("b", "high"): 1, ("(other)", "normal"): 2,
        ("(other)", "low"): 1, ("gold", "normal"): 1,
    }  # fmt: skip
    # Namesakes do not know tenants: theirs is the sum.
    assert value(values, "vllm:prompt_tokens_total", engine="0") == 70
    assert value(values, "vllm:time_to_first_token_seconds_bucket", engine="0", le="1.0") == 7
    assert not any("tenant" in dict(labels) for name, labels in values if name.startswith("vllm:"))


def test_a_thousand_tenants_make_no_more_series_than_the_bound():
    metrics = Metrics("m", tenants=3)
    sizes = []
    for i in range(1000):
        metrics.account(f"tenant {i}", i % 5 - 2)
        if i in (99, 999):
            sizes.append(len(metrics.render(SEEN)))
    assert sizes[0] == sizes[1]


def test_rejections_are_counted_by_reason():
    metrics = Metrics("m")
    metrics.reject(429, "rate_limit_exceeded", "default")
    metrics.reject(400, "invalid_value", "default")
    values = scrape(metrics)
    labels = {"status": "429", "reason": "rate_limit_exceeded", "tenant": "default"}
    assert value(values, "penstock:requests_rejected_total", **labels) == 1
    assert value(values, "vllm:admission_rejections_total", reason="rate_limit_exceeded", engine="0") == 1
    assert not any(dict(labels).get("reason") == "invalid_value"
                   for name, labels in values if name.startswith("penstock:admission"))  # fmt: skip


def test_aliases_can_be_left_out():
    assert b"vllm:" not in Metrics("m", vllm_names=False).render(SEEN)
    assert b"_created" not in Metrics("m").render(SEEN)


def test_an_odd_model_name_is_escaped():
    name = 'a"b\\c\nd'
    values = scrape(Metrics(name), SEEN)
    assert values["penstock:num_requests_running", (("model_name", name),)] == 1


def test_two_servers_in_one_process_count_apart():
    one, two = Metrics("m"), Metrics("m")
    one.account("default", 0).prompt_tokens.inc(5)
    assert value(scrape(two), "penstock:prompt_tokens_total", **MINE) == 0


@pytest.mark.parametrize(
    "bounds",
    [getattr(buckets, name) for name in dir(buckets) if name.isupper()],
)
def test_bounds_rise(bounds):
    assert list(bounds) == sorted(set(bounds)) and bounds[0] >= 0
