"""Metrics of one request, of the engine, and under other names."""

from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.observe import Metrics, RequestMeter, buckets


def scrape(metrics, stats=None):
    values = {}
    for family in text_string_to_metric_families(metrics.render(stats).decode()):
        for sample in family.samples:
            values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return values


def value(values, name, **labels):
    return values[name, tuple(sorted({"model_name": "m", **labels}.items()))]


LINE = SimpleNamespace(arrival=10.0, first_scheduled=10.5, first_token=11.0, last_token=13.0, finished=13.1)
STATS = SimpleNamespace(
    running=1, waiting=2, blocks_total=10, blocks_free=4, blocks_reclaimable=1, blocks_pinned=3,
    pins_made=6, pins_returned=5, pins_given_up=1, prefix_query_tokens=30,
    prefix_hit_tokens=12, prompt_tokens=9, generated_tokens=3, preemptions=1, recomputed_tokens=5, steps=4,
    submitted=2, finished={"stop": 1}, waiting_by_reason={"blocks": 2}, last_step_tokens=8,
    step_tokens=40, step_sizes=(1, 0, 2, 1),
)  # fmt: skip


def test_a_sequence_is_recorded_from_its_milestones():
    metrics = Metrics("m")
    meter = RequestMeter(metrics, prompt_tokens=7, max_tokens=5, began=99.0)
    meter.cached_tokens = 4
    meter.delta(1, 100.0)
    meter.delta(2, 101.0)
    meter.delta(0, 150.0)
    meter.delta(2, 102.0)
    assert value(scrape(metrics), "penstock:time_to_first_token_seconds_count") == 1, "not before the end"
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
        assert value(values, f"penstock:{name}_count") == 1
        assert value(values, f"penstock:{name}_sum") == pytest.approx(expected), name
    assert value(values, "penstock:inter_token_latency_seconds_count") == 4
    assert value(values, "penstock:inter_token_latency_seconds_sum") == pytest.approx(2.0)
    assert value(values, "penstock:request_success_total", finished_reason="length") == 1
    assert value(values, "penstock:request_success_total", finished_reason="abort") == 0
    assert value(values, "penstock:prompt_tokens_total") == 7
    assert value(values, "penstock:prompt_tokens_cached_total") == 4


def test_a_sequence_that_never_ran_has_no_latencies():
    metrics = Metrics("m")
    RequestMeter(metrics, 7, began=0.0).finish("abort")
    values = scrape(metrics)
    assert value(values, "penstock:request_success_total", finished_reason="abort") == 1
    assert value(values, "penstock:time_to_first_token_seconds_count") == 0
    assert value(values, "penstock:e2e_request_latency_seconds_count") == 0


def test_engine_figures_appear_at_scrape_and_only_then():
    metrics = Metrics("m")
    assert not any("num_requests_running" in name for name, _ in scrape(metrics))
    values = scrape(metrics, STATS)
    for prefix, labels in (("penstock:", {}), ("vllm:", {"engine": "0"})):
        assert value(values, f"{prefix}num_requests_running", **labels) == 1
        assert value(values, f"{prefix}num_requests_waiting", **labels) == 2
        assert value(values, f"{prefix}prefix_cache_queries_total", **labels) == 30
        assert value(values, f"{prefix}prefix_cache_hits_total", **labels) == 12
        assert value(values, f"{prefix}generation_tokens_total", **labels) == 3
        assert value(values, f"{prefix}num_preemptions_total", **labels) == 1
        assert value(values, f"{prefix}kv_cache_usage_perc", **labels) == pytest.approx(0.5)
        sizes = {bound: value(values, f"{prefix}iteration_tokens_total_bucket", le=bound, **labels)
                 for bound in ("1.0", "2.0", "4.0", "+Inf")}  # fmt: skip
        assert sizes == {"1.0": 1, "2.0": 1, "4.0": 3, "+Inf": 4}
        assert value(values, f"{prefix}iteration_tokens_total_sum", **labels) == 40
    assert value(values, "penstock:num_admissions_blocked_total", reason="blocks") == 2


def test_aliases_can_be_left_out():
    assert b"vllm:" not in Metrics("m", vllm_names=False).render(STATS)
    assert b"_created" not in Metrics("m").render(STATS)


def test_an_odd_model_name_is_escaped():
    name = 'a"b\\c\nd'
    values = scrape(Metrics(name), STATS)
    assert values["penstock:num_requests_running", (("model_name", name),)] == 1


def test_two_servers_in_one_process_count_apart():
    one, two = Metrics("m"), Metrics("m")
    one.prompt_tokens.inc(5)
    assert value(scrape(two), "penstock:prompt_tokens_total") == 0


@pytest.mark.parametrize(
    "bounds",
    [getattr(buckets, name) for name in dir(buckets) if name.isupper()],
)
def test_bounds_rise(bounds):
    assert list(bounds) == sorted(set(bounds)) and bounds[0] >= 0
