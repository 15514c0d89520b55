"""The live state, once and as a stream."""

import asyncio
import json

import msgspec
import pytest

from penstock.core.errors import Overloaded
from penstock.observe.metrics import Metrics
from penstock.server import board as boards
from penstock.server.board import Board
from penstock.server.errors import APIError
from penstock.server.schemas.live import LiveState
from tests.server.fakes import CONFIG, FakeEngine

HI = [{"role": "user", "content": "hi"}]


def read(data):
    """Decode strictly against the documented struct."""
    return msgspec.json.decode(data, type=LiveState)


def board(engine):
    return Board(engine, Metrics("fake"), {"order": "fcfs"}, "1.0", {"an id"})


def payload(event):
    assert event.startswith(b"data: ") and event.endswith(b"\n\n") and b"\n" not in event[:-2]
    return read(event[6:])


def test_the_state_says_what_the_engine_does(post, call):
    post("/v1/chat/completions", {"messages": HI, "max_tokens": 4})
    state = read(call("GET", "/live/state").content)
    assert state.model == "fake" and state.status == "ready" and state.restarts == 0
    assert state.policies["order"] == CONFIG.schedule.order and len(state.policies) == 7
    assert abs(state.at - state.started - state.uptime) < 1.0 and state.requests == 0
    engine = state.engine
    assert engine.blocks.free + engine.blocks.cached + engine.blocks.in_use == engine.blocks.total == 10
    assert engine.throughput.generated == 11.0 and engine.throughput.device_busy == 0.5
    assert engine.prefix_cache.hit_rate == 4 / 7 and engine.prefix_cache.recent_hit_rate == 0.5
    assert [step.ticket for step in engine.steps] == [1, 2]
    assert [step.rows for step in engine.steps] == [4, 4]
    assert 8.0 < state.at - engine.steps[-1].start < 9.0  # 100 - 92 seconds of the engine's clock
    assert [(one.tenant, one.running) for one in engine.tenants] == [("default", 0)]
    latency = state.latency
    assert latency.ttft.count == latency.e2e.count == 1 and 0 < latency.ttft.p50 <= latency.e2e.p50
    assert latency.ttft.p50 == latency.ttft.p99


def test_a_dead_engine_leaves_a_state_without_figures(call, engine):
    engine.state, engine.cause = "dead", "on fire"
    state = read(call("GET", "/live/state").content)
    assert (state.status, state.cause, state.engine) == ("dead", "on fire", None)


def test_many_askers_cost_one_question():
    async def go():
        engine = FakeEngine()
        one = board(engine)
        await asyncio.gather(*(one.state() for _ in range(20)))
        assert engine.looked == 1

    asyncio.run(go())


def test_a_busy_engine_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(boards, "PATIENCE", 0.01)
    monkeypatch.setattr(boards, "FRESH", 0.0)

    async def go():
        engine, free = FakeEngine(), asyncio.Event()
        one, answer = board(engine), engine.observe
        fresh = await one.state()

        async def slow(since, most):
            await free.wait()
            return await answer(since, most)

        engine.observe = slow
        stale = await one.state()
        assert stale.engine.running == fresh.engine.running and stale.engine.age > fresh.engine.age
        free.set()
        await asyncio.sleep(0)

    asyncio.run(go())


def test_events_share_one_producer_that_ends_with_its_last_watcher(monkeypatch):
    monkeypatch.setattr(boards, "PERIOD", 0.01)
    monkeypatch.setattr(boards, "FRESH", 0.0)

    async def go():
        engine = FakeEngine()
        one = board(engine)
        streams = [one.events() for _ in range(3)]
        for stream in streams:
            one.join()
            assert [step.ticket for step in payload(await anext(stream)).engine.steps] == [1, 2]
        engine.first_step = 2  # steps 2 and 3: only 3 is new
        later = [payload(await anext(stream)) for stream in streams]
        while not later[0].engine.steps:
            later = [payload(await anext(stream)) for stream in streams]
        assert [step.ticket for step in later[0].engine.steps] == [3]
        producers = [task for task in asyncio.all_tasks() if task.get_name() == "penstock-live"]
        assert len(producers) == 1
        for stream in streams:
            await stream.aclose()
            await one.leave()
        await asyncio.wait(producers)
        looked = engine.looked
        await asyncio.sleep(0.05)
        assert engine.looked == looked, "it asks though nobody watches"

    asyncio.run(go())


def test_watchers_are_bounded(monkeypatch):
    monkeypatch.setattr(boards, "WATCHERS", 2)
    one = board(FakeEngine())
    one.join()
    one.join()
    with pytest.raises(APIError) as refused:
        one.join()
    assert refused.value.status == 503
    asyncio.run(one.leave())
    one.join()


def test_a_drained_engine_ends_the_streams(monkeypatch):
    monkeypatch.setattr(boards, "PERIOD", 0.01)

    async def go():
        engine = FakeEngine()
        one = board(engine)
        one.join()
        states = []
        async for event in one.events():
            states.append(payload(event).status)
            engine.state = "draining"
        assert states[0] == "ready" and states[-1] == "draining"

    asyncio.run(go())


def test_a_restart_tells_the_new_steps_from_the_first(monkeypatch):
    monkeypatch.setattr(boards, "PERIOD", 0.01)
    monkeypatch.setattr(boards, "FRESH", 0.0)

    async def go():
        engine = FakeEngine()
        engine.first_step = 50
        one, answer = board(engine), engine.observe
        one.join()
        stream = one.events()
        assert [step.ticket for step in payload(await anext(stream)).engine.steps] == [50, 51]

        async def gone(since, most):
            raise Overloaded("restarting", 1.0)

        engine.observe = gone
        while payload(await anext(stream)).engine is not None:
            pass
        engine.observe, engine.first_step = answer, 1
        while (state := payload(await anext(stream))).engine is None:
            pass
        assert [step.ticket for step in state.engine.steps] == [1, 2]
        await stream.aclose()
        await one.leave()

    asyncio.run(go())


def test_a_stream_over_a_socket():
    import httpx

    from tests.server.live import serving

    with serving(FakeEngine(), CONFIG) as (port, _, _):
        with httpx.stream("GET", f"http://127.0.0.1:{port}/live/events", timeout=10) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = (line for line in response.iter_lines() if line)
            first, second = (json.loads(next(lines).removeprefix("data: ")) for _ in range(2))
        assert second["at"] > first["at"] and first["engine"]["steps"] and not second["engine"]["steps"]
