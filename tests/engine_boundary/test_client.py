import asyncio
import contextlib
import os
import signal
import threading
import time
from contextlib import asynccontextmanager
from pathlib import Path

import fake_engine
import pytest

from penstock.config.settings import Config, ModelConfig, ScheduleConfig, ServerConfig
from penstock.core.errors import ConfigError, InvalidRequest, Overloaded
from penstock.core.output import FinishReason
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.client import ClientOptions, InprocClient, ProcessClient
from penstock.engine.messages import EngineDead
from penstock.engine.supervisor import RestartPolicy

pytestmark = pytest.mark.anyio

FAST = ClientOptions(
    lease_interval=0.05, lease_timeout=1.0, stop_grace=2.0, restart=RestartPolicy(first_delay=0.01)
)
KINDS = {"process": ProcessClient, "inproc": InprocClient}
both = pytest.mark.parametrize("kind", sorted(KINDS))


class Sink:
    """Collects outputs by id and counts terminals."""

    def __init__(self):
        self.tokens, self.finish, self.terminals = {}, {}, {}
        self.news = asyncio.Event()

    def __call__(self, outputs):
        for out in outputs:
            self.tokens[out.request_id] = self.tokens.get(out.request_id, ()) + out.tokens
            if out.finish is not None:
                self.finish[out.request_id] = out.finish
                self.terminals[out.request_id] = self.terminals.get(out.request_id, 0) + 1
        self.news.set()

    async def until(self, condition, timeout=20.0):
        async with asyncio.timeout(timeout):
            while not condition():
                self.news.clear()
                await self.news.wait()

    async def ended(self, *ids):
        await self.until(lambda: all(i in self.finish for i in ids))

    async def started(self, *ids):
        await self.until(lambda: all(self.tokens.get(i) for i in ids))


@asynccontextmanager
async def running(kind, build="build", options=FAST, config=None):
    client = KINDS[kind](config or Config(), f"fake_engine:{build}", options)
    sink = Sink()
    try:
        client.boot_lines = []
        client.info = await client.start(sink, client.boot_lines.append)
        yield client, sink
    finally:
        await client.close()


def spec(name, prompt=(1, 2, 3), **sampling):
    return RequestSpec(
        id=name, prompt_ids=tuple(prompt), sampling=SamplingParams(temperature=0.0, **sampling)
    )


@both
async def test_tokens_come_through_and_every_request_ends_once(kind):
    async with running(kind) as (client, sink):
        assert client.info.plan == ("a plan line",) and client.boot_lines == ["building the fake engine"]
        assert (client.info.pid == os.getpid()) == (kind == "inproc")
        specs = [spec(f"r{i}", (i + 1, 7), max_tokens=5 + i) for i in range(20)]
        await asyncio.gather(*(client.submit([s]) for s in specs))
        await sink.ended(*(s.id for s in specs))
        for s in specs:
            assert sink.tokens[s.id] == fake_engine.expected(s.prompt_ids, s.sampling.max_tokens)
            assert sink.finish[s.id].reason is FinishReason.LENGTH and sink.terminals[s.id] == 1
        stats = await client.stats()
        assert stats.submitted == 20 and stats.running == stats.waiting == 0
        assert await client.reset_prefix_cache()


@both
async def test_cancel_ends_with_the_given_reason(kind):
    async with running(kind, "build_slow") as (client, sink):
        await client.submit([spec("a", max_tokens=900), spec("b", max_tokens=900)])
        await sink.started("a", "b")
        client.cancel(["a", "unknown"], "client")
        client.cancel(["b"], reason=FinishReason.STOP)
        await sink.ended("a", "b")
        assert sink.finish["a"].reason is FinishReason.ABORT and sink.finish["a"].detail == "client"
        assert sink.finish["b"].reason is FinishReason.STOP
        client.cancel(["a"])
        stats = await client.stats()
        assert stats.running == 0 and sink.terminals == {"a": 1, "b": 1}


@both
async def test_refusals_arrive_as_the_exceptions_they_are(kind):
    schedule = ScheduleConfig(admit="queue-bound(2)", max_num_seqs=1)
    async with running(kind, "build_slow", config=Config(schedule=schedule)) as (client, sink):
        with pytest.raises(InvalidRequest) as caught:
            await client.submit([spec("long", range(2000))])
        assert caught.value.field == "prompt"
        with pytest.raises(Overloaded):
            await client.submit([spec(f"many{i}", max_tokens=500) for i in range(8)])
        await client.submit([spec("after", max_tokens=2)])
        await sink.ended("after")
        assert set(sink.finish) == {"after"}, "a refused group must leave nothing behind"
        with pytest.raises(InvalidRequest, match="in use"):
            await client.submit([spec("twice", max_tokens=900)])
            await client.submit([spec("twice", max_tokens=900)])


@both
async def test_drain_refuses_newcomers_and_lets_the_rest_end(kind):
    async with running(kind, "build_slow") as (client, sink):
        await client.submit([spec("old", max_tokens=30)])
        await client.drain()
        with pytest.raises(Overloaded):
            await client.submit([spec("new")])
        await sink.ended("old")
        assert sink.finish["old"].reason is FinishReason.LENGTH


@both
async def test_close_aborts_what_is_live_with_detail_shutdown(kind):
    async with running(kind, "build_slow") as (client, sink):
        await client.submit([spec("a", max_tokens=900)])
        await sink.started("a")
    assert sink.finish["a"].reason is FinishReason.ABORT and sink.finish["a"].detail == "shutdown"
    assert sink.terminals == {"a": 1} and not client.is_alive()
    with pytest.raises(EngineDead, match="closed"):
        await client.submit([spec("b")])


@both
@pytest.mark.parametrize("build", ["build_refusing", "build_failing"])
async def test_a_failed_start_tells_the_cause(kind, build):
    error, words = {
        "build_refusing": (ConfigError, r"cache.kv_cache_memory_bytes: needs at least 123 bytes"),
        "build_failing": (EngineDead, "ValueError: nothing fits"),
    }[build]
    with pytest.raises(error, match=words):
        async with running(kind, build):
            pass


async def test_a_child_killed_while_starting_is_noticed():
    with pytest.raises(EngineDead, match="SIGKILL"):
        async with running("process", "build_killed"):
            pass


def hanging(tmp_path, first=False, limit=1.5):
    if first:
        (tmp_path / "marker").touch()
    return Config(
        model=ModelConfig(model=str(tmp_path / "marker")),
        server=ServerConfig(start_timeout=limit, warm_spare=False),
    )


@both
async def test_an_engine_that_hangs_while_starting_is_given_up(kind, tmp_path, capfd):
    began = time.monotonic()
    with pytest.raises(EngineDead, match=r"not ready 1.5 s after its start \(server.start_timeout\)"):
        async with running(kind, "build_hanging", config=hanging(tmp_path, first=True)):
            pass
    assert time.monotonic() - began < 10
    assert "in build_hanging" in capfd.readouterr().err, "the stacks of what hangs belong in the log"


async def test_hanging_restarts_count_as_failed_ones(tmp_path):
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = children.read_text()
    options = ClientOptions(restart=RestartPolicy(most=1, first_delay=0.01))
    async with running("process", "build_hanging", options, hanging(tmp_path, limit=4.0)) as (client, _):
        assert children.read_text() != before
        began = time.monotonic()
        os.kill(client.pid, signal.SIGKILL)
        await dead(client)
        assert time.monotonic() - began > 3.9 and "start_timeout" in client.health.cause
        assert client.pid == 0 and children.read_text() == before, "what hung was ended"


async def test_a_thread_that_hangs_while_restarting_gets_no_rival(tmp_path):
    before = threading.enumerate()
    options = ClientOptions(restart=RestartPolicy(most=5, first_delay=0.01))
    async with running("inproc", "build_hanging", options, hanging(tmp_path)) as (client, _):
        with contextlib.suppress(EngineDead):
            await client.submit([spec("fatal", (666 % fake_engine.VOCAB,), max_tokens=5)])
        await dead(client)
        assert "start_timeout" in client.health.cause
        engines = [one for one in threading.enumerate() if one.name == "penstock-engine"]
        assert len([one for one in engines if one not in before]) == 1


async def dead(client):
    async with asyncio.timeout(20):
        while client.health.state != "dead":
            await asyncio.sleep(0.01)


async def test_unknown_builder_is_a_config_error():
    with pytest.raises(ConfigError, match="no_such"):
        async with running("process", "no_such"):
            pass


async def test_killed_engine_fails_every_live_request_once_and_comes_back():
    async with running("process", "build_slow") as (client, sink):
        ids = [f"r{i}" for i in range(32)]
        await client.submit([spec(i, max_tokens=900) for i in ids])
        await sink.started(*ids)
        first = client.pid
        os.kill(first, signal.SIGKILL)
        await sink.ended(*ids)
        for i in ids:
            assert sink.finish[i].reason is FinishReason.ERROR
            assert "SIGKILL" in sink.finish[i].detail and sink.terminals[i] == 1
        assert client.health.state == "restarting" and "SIGKILL" in client.health.cause
        with pytest.raises(Overloaded, match="restarting"):
            await client.submit([spec("too-early")])
        await until_ready(client)
        await client.submit([spec("next", max_tokens=4)])
        await sink.ended("next")
        assert sink.tokens["next"] == fake_engine.expected((1, 2, 3), 4)
        assert client.health.restarts == 1 and client.pid != first


async def until_ready(client):
    async with asyncio.timeout(20):
        while not client.is_alive():
            await asyncio.sleep(0.01)


@both
async def test_an_engine_fault_forwards_its_text_and_the_engine_comes_back(kind):
    async with running(kind, "build_broken") as (client, sink):
        await client.submit([spec("bystander", max_tokens=900)])
        await sink.started("bystander")
        try:
            await client.submit([spec("fatal", (666 % fake_engine.VOCAB,), max_tokens=5)])
            await sink.ended("fatal")
            assert "fell off the bus" in sink.finish["fatal"].detail
        except EngineDead as error:
            assert "fell off the bus" in str(error)
        await sink.ended("bystander")
        assert sink.finish["bystander"].detail == (
            "the engine failed with RuntimeError: the device fell off the bus"
        )
        await until_ready(client)
        await client.submit([spec("next", max_tokens=3)])
        await sink.ended("next")
        assert sink.finish["next"].reason is FinishReason.LENGTH


async def test_restarts_are_bounded(tmp_path):
    config = Config(model=ModelConfig(model=str(tmp_path / "marker")))
    options = ClientOptions(restart=RestartPolicy(most=2, first_delay=0.01))
    async with running("process", "build_once", options, config) as (client, sink):
        await client.submit([spec("a", max_tokens=900)])
        await sink.started("a")
        os.kill(client.pid, signal.SIGKILL)
        await dead(client)
        with pytest.raises(EngineDead, match="cannot boot twice"):
            await client.submit([spec("b")])
        assert sink.terminals == {"a": 1}


@both
async def test_a_poisoned_request_errors_alone(kind):
    async with running(kind, "build_poisoned") as (client, sink):
        others = [spec(f"r{i}", (i + 1, 5), max_tokens=20) for i in range(32)]
        for s in [*others[:16], spec("poisoned", max_tokens=20), *others[16:]]:
            await client.submit([s])
        await sink.ended("poisoned", *(s.id for s in others))
        assert sink.finish["poisoned"].reason is FinishReason.ERROR
        assert "poisoned" in sink.finish["poisoned"].detail
        for s in others:
            assert sink.tokens[s.id] == fake_engine.expected(s.prompt_ids, 20)


@both
async def test_an_id_that_the_api_side_forgot_is_cancelled(kind):
    async with running(kind, "build_slow") as (client, sink):
        await client.submit([spec("kept", max_tokens=900), spec("lost", max_tokens=900)])
        await sink.started("kept", "lost")
        client._live.pop("lost")  # the bug that leases are there for
        async with asyncio.timeout(10):
            while (await client.stats()).running != 1:
                await asyncio.sleep(0.02)
        assert "kept" not in sink.finish


@both
async def test_a_silent_api_side_loses_its_requests(kind):
    silent = ClientOptions(lease_interval=3600, lease_timeout=0.3, stop_grace=2.0)
    async with running(kind, "build_slow", silent) as (client, sink):
        await client.submit([spec("a", max_tokens=1000)])
        await sink.ended("a")
        assert sink.finish["a"].reason is FinishReason.ABORT and sink.finish["a"].detail == "client"


@both
async def test_cancelling_a_submit_in_flight_leaves_nothing_running(kind):
    async with running(kind, "build_slow") as (client, _):
        for i in range(20):
            task = asyncio.create_task(client.submit([spec(f"r{i}", max_tokens=900)]))
            await asyncio.sleep(0.0005 * (i % 5))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            client.cancel([f"r{i}"])
        async with asyncio.timeout(10):
            while (stats := await client.stats()).running + stats.waiting or client._live:
                await asyncio.sleep(0.02)


async def test_the_engine_process_ends_when_its_parent_vanishes():
    async with running("process") as (client, _):
        pid = client.pid
        client._supervisor._current.handle._process.stdin.close()
        async with asyncio.timeout(10):
            while client.is_alive():
                await asyncio.sleep(0.01)
        assert not os.path.exists(f"/proc/{pid}")


async def test_an_idle_engine_burns_no_time():
    async with running("process") as (client, sink):
        await client.submit([spec("a", max_tokens=3)])
        await sink.ended("a")
        await asyncio.sleep(0.2)
        ticks = os.sysconf("SC_CLK_TCK")

        def used():
            fields = Path(f"/proc/{client.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return (int(fields[11]) + int(fields[12])) / ticks

        before = used()
        await asyncio.sleep(1.0)
        assert used() - before <= 0.05


async def test_signals_to_the_group_do_not_cut_the_engine_off():
    async with running("process", "build_slow") as (client, sink):
        await client.submit([spec("a", max_tokens=50)])
        await sink.started("a")
        os.kill(client.pid, signal.SIGINT)
        os.kill(client.pid, signal.SIGTERM)
        await sink.ended("a")
        assert sink.finish["a"].reason is FinishReason.LENGTH


async def test_a_faulty_receiver_does_not_bring_the_engine_down(caplog):
    async with running("inproc") as (client, sink):
        client._sink = lambda outputs: 1 / 0
        await client.submit([spec("a", max_tokens=3)])
        async with asyncio.timeout(10):
            while client._live:
                await asyncio.sleep(0.01)
        client._sink = sink
        await client.submit([spec("b", max_tokens=3)])
        await sink.ended("b")
        assert client.health.restarts == 0 and "ZeroDivisionError" in caplog.text


async def test_outputs_do_not_wait_for_a_busy_event_loop():
    """The engine goes on while the API side is stuck; nothing is lost."""
    async with running("process", "build_slow") as (client, sink):
        await client.submit([spec("a", max_tokens=100)])
        time.sleep(0.5)
        await sink.ended("a")
        assert sink.tokens["a"] == fake_engine.expected((1, 2, 3), 100)
