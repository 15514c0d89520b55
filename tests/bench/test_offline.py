"""The offline driver on the real engine and a fake body: exact lengths, timings, roofline."""

import pytest

from penstock.bench.offline import MeteredExecutor, run_offline
from penstock.bench.roofline import decode_share
from penstock.bench.workload import WorkloadSpec, build_workload
from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.errors import InvalidRequest, PenstockError
from penstock.core.plan import PlanShape
from penstock.engine.core import build_engine
from penstock.testing.builders import make_spec
from penstock.testing.fake_executor import FakeExecutor
from penstock.workload.metrics.records import aggregate


def build(*, admit="unlimited", poison=frozenset(), **spec):
    body = MeteredExecutor(FakeExecutor(make_spec(**spec), poison=poison))
    schedule = ScheduleConfig(max_num_seqs=8, admit=admit)
    return build_engine(body, schedule, CacheConfig(enable_prefix_caching=False)), body


def items(count=12, **change):
    return build_workload(
        WorkloadSpec(count=count, input_len="uniform:3:9", output_len="uniform:1:6", **change)
    )


def test_every_request_ends_at_its_exact_length():
    engine, body = build()
    done = []
    run = run_offline(engine, items(), done.append)
    assert len(run.records) == len(done) == 12
    assert all(record.ok and record.output_tokens == record.expected_tokens for record in run.records)
    assert [record.prompt_tokens for record in run.records] == [len(item.prompt) for item in items()]
    figures = aggregate(run.records, run.duration)
    assert figures["output_length_mismatches"] == 0
    assert figures["total_output_tokens"] == sum(item.output_tokens for item in items())
    assert 0 < figures["mean_ttft_ms"] <= figures["mean_e2el_ms"] <= run.duration * 1000
    assert sum(shape.samples for shape, _ in body.steps) == figures["total_output_tokens"]
    assert not engine.has_work()


def test_a_full_queue_is_fed_as_it_empties():
    engine, _ = build(admit="queue-bound(2)")
    run = run_offline(engine, items(30))
    assert len(run.records) == 30
    assert all(record.ok for record in run.records)


def test_a_failed_request_is_reported_not_hidden():
    engine, _ = build(poison=frozenset({"bench-3"}))
    run = run_offline(engine, items())
    assert [index for index, record in enumerate(run.records) if not record.ok] == [3]
    assert "poisoned" in run.records[3].error


def test_a_prompt_that_does_not_fit_is_refused():
    engine, _ = build(max_model_len=8)
    with pytest.raises(InvalidRequest):
        run_offline(engine, build_workload(WorkloadSpec(count=1, input_len="50")))


def test_text_prompts_are_refused():
    engine, _ = build()
    item = items(1)[0]
    item.prompt = "some text"
    with pytest.raises(PenstockError, match="token ids"):
        run_offline(engine, [item])


def shape(decodes, prefill, kv):
    return PlanShape(decodes + prefill, 1, decodes, prefill, kv, 0, 1)


def test_decode_share_by_hand():
    """Two decode steps: 100 + 10 * 2 and 100 + 30 * 2 bytes in 0.5 + 1.5 s: 140 of 200 B/s."""
    steps = [(shape(4, 0, 10), 0.5), (shape(2, 8, 99), 9.0), (shape(4, 0, 30), 1.5), (shape(0, 8, 0), 9.0)]
    share = decode_share(steps, weight_bytes=100, kv_bytes_per_token=2.0, bandwidth=200.0)
    assert (share.steps, share.bytes_needed, share.seconds) == (2, 280, 2.0)
    assert share.achieved == 140.0
    assert share.share == pytest.approx(0.7)


def test_no_decode_step_is_no_share():
    assert decode_share([(shape(0, 8, 0), 1.0)], 100, 2.0, 200.0).share == 0
