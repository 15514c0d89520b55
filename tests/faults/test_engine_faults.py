"""The failure model below HTTP: a step that fails, an engine that hangs, dies, or is killed by a request."""

import asyncio
import os
import signal
import time

import pytest

from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.output import Finish, FinishReason
from penstock.engine.messages import EngineDead
from penstock.engine.pulse import Pulse, attach, make_shared
from penstock.engine.quarantine import Quarantine
from penstock.engine.watchdog import Watchdog
from tests.faults.engines import KILLER
from tests.faults.helpers import running, spec, until_ready

pytestmark = pytest.mark.anyio


async def test_a_step_that_raises_once_costs_nobody_an_answer(tmp_path):
    async with running(tmp_path) as (client, ends):
        ids = [f"r{i}" for i in range(8)]
        await client.submit([spec(i, max_tokens=200) for i in ids])
        await ends.started(*ids)
        (tmp_path / "raise").touch()
        await ends.ended(*ids)
        assert not (tmp_path / "raise").exists()
        assert [[end.reason for end in ends.ends[i]] for i in ids] == [[FinishReason.LENGTH]] * 8
        assert client.health.restarts == 0


async def test_an_engine_that_hangs_is_stopped_and_replaced_and_says_where(tmp_path, capfd):
    async with running(tmp_path, watchdog=0.6) as (client, ends):
        ids = [f"r{i}" for i in range(16)]
        await client.submit([spec(i) for i in ids])
        await ends.started(*ids)
        first = client.pid
        (tmp_path / "hang").touch()
        began = time.monotonic()
        await ends.ended(*ids)
        assert time.monotonic() - began < 5
        for i in ids:
            assert len(ends.ends[i]) == 1 and ends.ends[i][0].reason is FinishReason.ERROR
            assert "made no progress for" in ends.ends[i][0].detail
            assert "in step " in ends.ends[i][0].detail and "16 sequences" in ends.ends[i][0].detail
        with pytest.raises(Overloaded, match="restarting"):
            await client.submit([spec("early")])
        await until_ready(client)
        assert client.pid != first and not os.path.exists(f"/proc/{first}")
        await client.submit([spec("next", max_tokens=3)])
        await ends.ended("next")
        assert ends.ends["next"][0].reason is FinishReason.LENGTH
    assert "engines.py" in capfd.readouterr().err, "the stacks of the hung process belong in the log"


async def test_a_process_that_is_stopped_while_idle_is_noticed_by_the_next_request(tmp_path):
    async with running(tmp_path, watchdog=0.6) as (client, ends):
        os.kill(client.pid, signal.SIGSTOP)
        await asyncio.sleep(1.0)
        assert client.is_alive(), "nobody waits for it, so it is not stuck"
        with pytest.raises(EngineDead, match=r"made no progress for .* s between steps"):
            await client.submit([spec("a")])
        await until_ready(client)
        await client.submit([spec("b", max_tokens=2)])
        await ends.ended("b")


async def test_a_hung_thread_is_given_up_with_the_cause(tmp_path):
    async with running(tmp_path, watchdog=0.4, inproc=True) as (client, ends):
        await client.submit([spec("a")])
        await ends.started("a")
        (tmp_path / "hang").touch()
        await ends.ended("a")
        assert "made no progress" in ends.ends["a"][0].detail
        with pytest.raises(EngineDead, match="made no progress"):
            await client.submit([spec("b")])


async def test_a_process_that_ends_without_a_word_is_told_from_a_killed_one(tmp_path):
    async with running(tmp_path) as (client, ends):
        await client.submit([spec("a")])
        await ends.started("a")
        (tmp_path / "exit").touch()
        await ends.ended("a")
        assert [end.detail for end in ends.ends["a"]] == ["the engine exited with status 77"]


async def test_a_request_that_kills_the_engine_is_found_out_and_refused(tmp_path):
    """It and the innocent are retried together, as clients do; only it is refused in the end."""
    fates, rounds = {}, 0

    async def attempt(client, ends, name, prompt):
        for turn in range(30):
            own = f"{name}-{turn}"
            try:
                await client.submit([spec(own, prompt, max_tokens=5)])
                await ends.ended(own)
                if ends.ends[own][0].reason is FinishReason.LENGTH:
                    fates[name] = "answered"
                    return
            except (Overloaded, EngineDead):
                pass
            except InvalidRequest as error:
                fates[name] = str(error)
                return
            await until_ready(client)

    async with running(tmp_path) as (client, ends):
        prompts = {f"good{i}": (10 + i, 5) for i in range(6)} | {"bad": (KILLER, 1)}
        async with asyncio.timeout(60):
            await asyncio.gather(*(attempt(client, ends, name, prompts[name]) for name in prompts))
        rounds = client.health.restarts
    assert "exited with status 3" in fates.pop("bad")
    assert set(fates.values()) == {"answered"} and len(fates) == 6
    assert 2 <= rounds <= 3


async def test_suspects_run_one_at_a_time_until_cleared():
    now = [0.0]
    court = Quarantine(bar=2, window=100.0, now=lambda: now[0])
    for turn in range(2):
        await court.enter([spec(f"a{turn}", (1,)), spec(f"b{turn}", (2,))])
        court.died("boom")
    await court.enter([spec("a", (1,))])
    await court.enter([spec("c", (3,))])  # nothing is held against it
    waiting = asyncio.ensure_future(court.enter([spec("b", (2,))]))
    await asyncio.sleep(0)
    assert not waiting.done()
    court.left("a", Finish(FinishReason.LENGTH))
    await waiting
    await court.enter([spec("a2", (1,))])  # cleared
    court.died("boom")  # with b alone among the suspects
    with pytest.raises(InvalidRequest, match="boom"):
        await court.enter([spec("b2", (2,))])
    await court.enter([spec("a3", (1,)), spec("c3", (3,))])
    now[0] = 101.0
    await court.enter([spec("b3", (2,))])  # long ago


async def test_the_watchdog_allows_for_time_in_which_it_did_not_run_itself():
    fd, pulse = make_shared()
    engine = attach(fd)
    os.close(fd)
    assert isinstance(engine, Pulse)
    engine.begin(7, 3, 512)
    dog = asyncio.ensure_future(Watchdog(0.4, lambda: True).stuck(pulse))
    await asyncio.sleep(0.15)
    time.sleep(1.0)  # as if the whole machine had been suspended
    await asyncio.sleep(0.02)
    engine.beat()
    await asyncio.sleep(0.2)
    assert not dog.done()
    engine.begin(8, 3, 512)
    cause = await asyncio.wait_for(dog, 5)
    assert "in step 8 (3 sequences, 512 tokens)" in cause
