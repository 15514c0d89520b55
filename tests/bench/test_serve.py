"""The load generator against a server whose timing is known."""

import asyncio
import dataclasses

import pytest

from penstock.bench.client import CHAT, Target, open_client, piece_of
from penstock.bench.serve import Load, discover, run_load
from penstock.bench.workload import Item, WorkloadSpec, build_workload
from penstock.core.errors import ConfigError, PenstockError
from penstock.workload.metrics.records import aggregate


def drive(server, items, load=None, **target):
    async def go():
        async with server.running() as url:
            return await run_load(Target(url, **{"model": "fake"} | target), items, load or Load())

    return asyncio.run(go())


def random_items(count=6, **change):
    return build_workload(WorkloadSpec(**{"count": count, "input_len": "7", "output_len": "5"} | change))


def test_counts_and_times(fake_server):
    fake_server.gap = 0.03
    run = drive(fake_server, random_items())
    assert [record.error for record in run.records] == [None] * 6
    assert all(record.output_tokens == len(record.token_times) == 5 for record in run.records)
    assert all(record.prompt_tokens == 7 and record.cached_tokens == 2 for record in run.records)
    assert all(record.finish_reason == "length" and record.text == "xxxxx" for record in run.records)
    # A server that sleeps 0.03 s per token can only be slower than that, never faster.
    assert all(record.ttft >= 0.03 and record.tpot >= 0.028 and record.e2el >= 0.15 for record in run.records)
    figures = aggregate(run.records, run.duration)
    assert figures["total_output_tokens"] == 30
    assert figures["output_throughput"] == pytest.approx(30 / run.duration)


def test_open_loop_sends_when_due_however_slow_the_server(fake_server):
    fake_server.gap = 0.1
    items = [Item(0.05 * index, [1, 2], 4) for index in range(5)]
    run = drive(fake_server, items)
    starts = [record.arrival - run.records[0].arrival for record in run.records]
    lateness = [record.delay - run.records[0].delay for record in run.records]
    assert [a - b for a, b in zip(starts, lateness, strict=True)] == pytest.approx(
        [0.0, 0.05, 0.1, 0.15, 0.2]
    )
    assert run.peak_concurrency == 5


def test_closed_loop_bounds_what_is_in_flight(fake_server):
    run = drive(fake_server, random_items(9), Load(concurrency=2))
    assert fake_server.peak == run.peak_concurrency == 2
    assert len(run.records) == 9
    # Waiting for a turn is not the client's delay.
    assert all(record.delay == 0 for record in run.records)


def test_chat_does_not_take_the_role_for_a_token(fake_server):
    fake_server.gap = 0.03
    run = drive(fake_server, [Item(0.0, "Hello", 3)], endpoint=CHAT)
    assert len(run.records[0].token_times) == 3
    assert run.records[0].ttft >= 0.03
    assert fake_server.bodies[0]["messages"] == [{"role": "user", "content": "Hello"}]


def test_body_carries_what_was_asked(fake_server):
    item = Item(0.0, [4, 5], 2, {"priority": 3})
    drive(fake_server, [item], ignore_eos=True, temperature=0.0, extra={"user": "u"}, api_key="k")
    body = fake_server.bodies[0]
    assert body["prompt"] == [4, 5]
    assert (body["max_tokens"], body["ignore_eos"], body["temperature"]) == (2, True, 0.0)
    assert (body["priority"], body["user"]) == (3, "u")
    assert body["stream_options"] == {"include_usage": True}
    assert fake_server.headers[0]["authorization"] == "Bearer k"


def test_wrong_output_length_is_counted_with_ignore_eos(fake_server):
    fake_server.short = 1
    for ignore_eos, expected in ((True, 6), (False, 0)):
        run = drive(fake_server, random_items(), ignore_eos=ignore_eos)
        assert aggregate(run.records, run.duration)["output_length_mismatches"] == expected


def test_errors_are_records(fake_server):
    fake_server.fail = lambda body: "too  long" if len(body["prompt"]) > 7 else None
    run = drive(fake_server, [*random_items(2), Item(0.0, [1] * 8, 5)])
    assert [record.error for record in run.records] == [None, None, "HTTP 400: too long"]


def test_dead_server_is_an_error_of_each_request():
    run = asyncio.run(run_load(Target("http://127.0.0.1:9"), random_items(2), Load()))
    assert all("ConnectError" in record.error for record in run.records)


def test_warmups_are_sent_one_by_one_and_left_out(fake_server):
    run = drive(fake_server, random_items(4), Load(warmups=2, concurrency=1))
    assert len(fake_server.bodies) == 6
    assert len(run.records) == 4
    warm, cold = (
        [body["prompt"] for body in fake_server.bodies[part]] for part in (slice(2), slice(2, None))
    )
    assert [prompt[::-1] for prompt in warm] == cold[:2]


def test_failed_warmup_stops_the_run(fake_server):
    fake_server.fail = lambda body: "no"
    with pytest.raises(PenstockError, match="warm-up request failed: HTTP 400: no"):
        drive(fake_server, random_items(), Load(warmups=1))


def test_token_ids_do_not_fit_a_chat_endpoint(fake_server):
    with pytest.raises(ConfigError, match="--endpoint"):
        drive(fake_server, random_items(), endpoint=CHAT)
    assert fake_server.bodies == []


def test_discovery_waits_for_a_loading_server(fake_server):
    async def go(timeout):
        async with fake_server.running() as url, open_client(Target(url)) as client:
            return await discover(client, timeout)

    fake_server.loading = 1
    assert asyncio.run(go(5.0))["id"] == "fake"
    fake_server.loading = 100
    with pytest.raises(PenstockError, match=r"no OpenAI-compatible server answers at .*loading"):
        asyncio.run(go(0.0))


@pytest.mark.parametrize(
    ("event", "piece"),
    [
        ({"choices": [{"text": "a", "finish_reason": None}]}, "a"),
        ({"choices": [{"text": "", "finish_reason": None}]}, ""),
        ({"choices": [{"text": "", "finish_reason": "stop"}]}, None),
        ({"choices": [{"delta": {"role": "assistant", "content": ""}}]}, None),
        ({"choices": [{"delta": {"reasoning_content": "hm"}}]}, "hm"),
        ({"choices": [{"delta": {"tool_calls": [{}]}}]}, ""),
        ({"choices": [{"delta": {}, "finish_reason": "stop"}]}, None),
        ({"choices": []}, None),
    ],
)
def test_what_counts_as_output(event, piece):
    assert piece_of(event) == piece


def test_records_are_in_due_order_whatever_ends_first(fake_server):
    items = [dataclasses.replace(item, output_tokens=9 - index) for index, item in enumerate(random_items(5))]
    run = drive(fake_server, items)
    assert [record.output_tokens for record in run.records] == [9, 8, 7, 6, 5]
