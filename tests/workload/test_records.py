"""Every figure against values worked out by hand."""

import math
import random

import pytest

from penstock.core.errors import ConfigError
from penstock.workload.metrics.records import Record, aggregate, meets, parse_slo, percentile, summarise


def three():
    """Three requests: four tokens, one token, two tokens after a stall."""
    return [
        Record(
            10.0, prompt_tokens=5, output_tokens=4, token_times=[10.5, 10.75, 11.0, 12.5], expected_tokens=4
        ),
        Record(11.0, prompt_tokens=7, output_tokens=1, token_times=[12.0], cached_tokens=3),
        Record(12.0, prompt_tokens=1, output_tokens=2, token_times=[12.25, 14.25], expected_tokens=3),
    ]


def test_one_request():
    record = three()[0]
    assert record.ttft == 0.5
    assert record.tpot == pytest.approx(2.0 / 3)
    assert record.itl == [0.25, 0.25, 1.5]
    assert record.e2el == 2.5


def test_tpot_of_a_single_token_is_left_out():
    assert three()[1].tpot is None
    figures = aggregate(three(), 10.0)
    assert figures["mean_tpot_ms"] == pytest.approx(1000 * (2 / 3 + 2) / 2)


def test_a_token_without_text_counts_when_the_end_is_announced():
    record = Record(0.0, output_tokens=3, token_times=[1.0, 2.0], end=4.0)
    assert record.e2el == 4.0
    assert record.tpot == 1.5
    assert record.itl == [1.0]


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(5, 15.0), (20, 15.0), (20.1, 20.0), (30, 20.0), (40, 20.0), (50, 35.0), (99, 50.0), (100, 50.0)],
)
def test_nearest_rank(percent, expected):
    assert percentile([50.0, 15.0, 40.0, 20.0, 35.0], percent) == expected


def test_nearest_rank_has_no_rounding_slip():
    samples = [float(number) for number in range(1, 101)]
    assert [percentile(samples, percent) for percent in range(1, 101)] == samples


@pytest.mark.parametrize(("samples", "percent"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_percentile_refuses_nonsense(samples, percent):
    with pytest.raises(ValueError):
        percentile(samples, percent)


def test_summary_is_in_milliseconds():
    figures = summarise("ttft", [0.1, 0.2, 0.3, 0.4], [90])
    assert figures["mean_ttft_ms"] == pytest.approx(250)
    assert figures["median_ttft_ms"] == pytest.approx(200)
    assert figures["p90_ttft_ms"] == pytest.approx(400)
    assert figures["std_ttft_ms"] == pytest.approx(math.sqrt(12500))


def test_pooled_gaps_are_not_means_of_requests():
    """Nine smooth gaps and one stall: the pooled p90 is smooth, p99 is the stall."""
    smooth = Record(0.0, output_tokens=6, token_times=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5])
    stalled = Record(0.0, output_tokens=6, token_times=[1.0, 1.1, 1.2, 1.3, 1.4, 6.4])
    figures = aggregate([smooth, stalled], 7.0)
    assert figures["p90_itl_ms"] == pytest.approx(100)
    assert figures["p99_itl_ms"] == pytest.approx(5000)
    assert figures["mean_itl_ms"] == pytest.approx(590)


def test_totals():
    failed = Record(0.0, prompt_tokens=9, error="HTTP 500")
    figures = aggregate([*three(), failed], 4.0)
    assert (figures["completed"], figures["failed"]) == (3, 1)
    assert (figures["total_input_tokens"], figures["total_output_tokens"]) == (13, 7)
    assert figures["total_cached_tokens"] == 3
    assert figures["request_throughput"] == 0.75
    assert figures["output_throughput"] == 1.75
    assert figures["total_token_throughput"] == 5.0
    assert figures["output_length_mismatches"] == 1
    assert figures["median_ttft_ms"] == 500
    assert figures["p99_e2el_ms"] == 2500
    assert "request_goodput" not in figures


def test_goodput_is_joint_and_counts_failures_against():
    failed = Record(0.0, error="gone")
    records = [*three(), failed]
    objectives = {"ttft": 0.6, "tpot": 1.0}
    assert [meets(record, objectives) for record in records] == [True, False, False, False]
    figures = aggregate(records, 2.0, objectives)
    assert figures["request_goodput"] == 0.5
    assert figures["slo_attainment"] == 0.25
    assert figures["slo_attainment_ttft"] == 0.5
    # The single-token request has no TPOT and so violates none.
    assert figures["slo_attainment_tpot"] == 0.5


def test_goodput_of_a_deterministic_queue_is_its_service_rate():
    """Requests every 0.5 s, each served 0.5 s at once: all meet 0.5 s; at 0.4 s none would."""
    records = [Record(i / 2, output_tokens=1, token_times=[i / 2 + 0.5]) for i in range(20)]
    assert aggregate(records, 10.0, {"ttft": 0.5})["request_goodput"] == pytest.approx(2.0)
    assert aggregate(records, 10.0, {"ttft": 0.4})["request_goodput"] == 0


def test_order_of_requests_does_not_matter():
    records = three() * 5
    expected = aggregate(records, 3.0, {"ttft": 0.6})
    random.Random(0).shuffle(records)
    assert aggregate(records, 3.0, {"ttft": 0.6}) == pytest.approx(expected)


def test_empty_run_has_all_keys():
    empty = aggregate([], 0.0, {"ttft": 1.0})
    assert set(empty) == set(aggregate(three(), 1.0, {"ttft": 1.0}))
    assert empty["completed"] == 0


def test_slo_units():
    assert parse_slo(["ttft:200,tpot:50ms", "e2e:1.5s"]) == {"ttft": 0.2, "tpot": 0.05, "e2el": 1.5}


@pytest.mark.parametrize("text", ["ttfp:3", "ttft", "ttft:", "ttft:fast", "ttft:-1", "ttft:0", "ttft:nan"])
def test_bad_slo_is_refused(text):
    with pytest.raises(ConfigError, match="--goodput"):
        parse_slo([text])
