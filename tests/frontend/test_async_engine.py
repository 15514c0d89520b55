import asyncio
import gc
import os
import random
import signal
from contextlib import asynccontextmanager

import fake_engine
import pytest

from penstock.config.settings import Config, ModelConfig, ScheduleConfig, ServerConfig
from penstock.core.errors import ConfigError, InvalidRequest, Overloaded
from penstock.core.output import FinishReason
from penstock.engine.client import ClientOptions
from penstock.engine.messages import EngineDead
from penstock.engine.supervisor import RestartPolicy
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.outputs import collect
from penstock.frontend.prompts import Chat, Text

pytestmark = pytest.mark.anyio
OPTIONS = ClientOptions(lease_interval=0.1, stop_grace=2.0, restart=RestartPolicy(first_delay=0.01))
GREEDY = {"temperature": 0.0, "ignore_eos": True}
both = pytest.mark.parametrize("inproc", [False, True], ids=["process", "inproc"])


@asynccontextmanager
async def running(folder, build="build_slow", inproc=True, **schedule):
    config = Config(
        model=ModelConfig(model=str(folder)),
        server=ServerConfig(inproc=inproc),
        schedule=ScheduleConfig(**schedule),
    )
    engine = await AsyncEngine.start(config, build=f"fake_engine:{build}", options=OPTIONS)
    async with engine:
        yield engine


async def quiet(engine, timeout=10.0):
    """Wait until nothing runs in the engine."""
    async with asyncio.timeout(timeout):
        while (
            (stats := await engine.stats()).running + stats.waiting or engine.live() or engine._client._live
        ):
            await asyncio.sleep(0.01)
    return stats


@both
async def test_text_is_the_decode_of_the_tokens(model_folder, inproc):
    async with running(model_folder, "build", inproc) as engine:
        result = await collect(engine.generate("hello world", {**GREEDY, "max_tokens": 50}))
        out = result.outputs[0]
        ids = engine.tokenizer.encode("hello world")
        assert result.prompt_token_ids == ids and result.prompt == "hello world"
        assert out.token_ids == fake_engine.expected(ids, 50)
        assert out.text == engine.tokenizer.decode(out.token_ids)
        assert out.finish_reason is FinishReason.LENGTH and out.timeline.finished > 0
        assert result.usage.prompt_tokens == len(ids) and result.usage.completion_tokens == 50
        again = await collect(engine.generate(list(ids), {**GREEDY, "max_tokens": 3}))
        assert again.prompt is None and again.outputs[0].token_ids == out.token_ids[:3]


async def test_forms_of_prompts(model_folder):
    async with running(model_folder) as engine:
        messages = [{"role": "user", "content": "hello"}]
        as_list = await engine.prepare(messages)
        as_chat = await engine.prepare(Chat(messages=messages))
        assert as_list == as_chat and as_chat.prompt == "<s>[user] hello</s>[assistant] "
        assert as_chat.prompt_ids[0] == 1 and as_chat.prompt_ids.count(1) == 1, "one bos, the template's"
        plain = await engine.prepare(Text(text="hello", add_special_tokens=False))
        assert plain.prompt_ids == (await engine.prepare("hello")).prompt_ids[1:]


async def test_what_was_prepared_is_submitted_as_it_is(model_folder):
    async with running(model_folder, "build") as engine:
        prepared = await engine.prepare("hello world", {**GREEDY, "max_tokens": 5})
        result = await collect(engine.generate(prepared))
        assert result.prompt == "hello world" and result.prompt_token_ids == prepared.prompt_ids
        assert result.outputs[0].token_ids == fake_engine.expected(prepared.prompt_ids, 5)


async def test_max_tokens_defaults_differ_for_chat(model_folder):
    async with running(model_folder, "build") as engine:
        plain = await collect(engine.generate("hello", GREEDY))
        assert plain.usage.completion_tokens == 16
        chat = await collect(engine.generate([{"role": "user", "content": "x"}], GREEDY))
        assert chat.usage.completion_tokens == 1024 - len(chat.prompt_token_ids)
        assert chat.outputs[0].finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("prompt", "params", "field"),
    [
        ("hello " * 2000, {}, "prompt"),
        ("x" * 10**6, {}, "prompt"),
        ([{"role": "user", "content": "hello " * 2000}], {}, "messages"),
        ([{"role": "martian", "content": "x"}], {}, "messages"),
        ("", {"top_p": 2}, "top_p"),
        ([], {}, "prompt"),
        ([1, "x"], {}, "prompt"),
        (7, {}, "prompt"),
        ([9999], {}, "prompt[0]"),
        ("hello", {"max_tokens": 5000}, "max_tokens"),
    ],
)
async def test_refusals_are_raised_by_submit_and_name_the_field(model_folder, prompt, params, field):
    async with running(model_folder) as engine:
        with pytest.raises(InvalidRequest) as caught:
            await engine.submit(prompt, params)
        assert caught.value.field == field and engine.live() == 0


async def test_request_ids_must_be_unique_among_the_living(model_folder):
    async with running(model_folder) as engine:
        params = {**GREEDY, "max_tokens": 500}
        stream = await engine.submit("a", params, request_id="same")
        with pytest.raises(InvalidRequest, match="in use"):
            await engine.submit("b", params, request_id="same")
        with pytest.raises(InvalidRequest, match="in use"):
            await engine.submit("b", {**params, "n": 2}, request_id="x")
            await engine.submit("b", params, request_id="x-1")
        assert (await anext(stream)).request_id == "same", "the first is not disturbed"
        stream.close()
        await quiet(engine)
        await collect(engine.generate("a", GREEDY, request_id="same"))


async def test_overload_is_raised_by_submit(model_folder):
    async with running(model_folder, max_num_seqs=1, admit="queue-bound(2)") as engine:
        first = [await engine.submit("a", {**GREEDY, "max_tokens": 500})]
        with pytest.raises(Overloaded):
            for _ in range(5):
                first.append(await engine.submit("a", {**GREEDY, "max_tokens": 500}))
        assert len(first) >= 2
        for stream in first:
            stream.close()
        stats = await quiet(engine)
        assert stats.finished.get("abort") == len(first)


@both
async def test_stop_string_ends_the_request_in_the_engine_too(model_folder, inproc):
    async with running(model_folder, "build_slow", inproc) as engine:
        whole = (await collect(engine.generate("hello", {**GREEDY, "max_tokens": 60}))).outputs[0].text
        stop = whole[20:26]
        assert stop.strip()
        cut = whole.index(stop)
        params = {**GREEDY, "max_tokens": 900, "stop": [stop]}
        result = await collect(engine.generate("hello", params))
        out = result.outputs[0]
        assert out.text == whole[:cut] and out.finish_reason == "stop" and out.stop_reason == stop
        assert result.usage.completion_tokens == len(out.token_ids) < 60
        stats = await quiet(engine)
        assert stats.finished["stop"] == 1 and stats.generated_tokens < 200


async def test_n_completions_each_end_once(model_folder):
    async with running(model_folder) as engine:
        ends, stream = (
            [],
            await engine.submit("hello", {"n": 4, "seed": 5, "max_tokens": 8, "ignore_eos": True}),
        )
        finished = 0
        async for delta in stream:
            ends += [o.index for o in delta.outputs if o.finish_reason]
            finished += delta.finished
        assert sorted(ends) == [0, 1, 2, 3] and finished == 1 and engine.live() == 0


async def test_a_slow_reader_loses_nothing(model_folder):
    async with running(model_folder, "build") as engine:
        stream = await engine.submit("hello", {**GREEDY, "max_tokens": 300})
        first = await anext(stream)
        await quiet(engine)
        rest = [delta async for delta in stream]
        assert len(rest) == 1 and rest[0].finished, "everything since was merged into one delta"
        tokens = first.outputs[0].token_ids + rest[0].outputs[0].token_ids
        assert tokens == fake_engine.expected(stream.prompt_token_ids, 300)


LEAVE = ["aclose", "break", "cancel", "throw", "forget", "context", "stream-cancel"]


@both
@pytest.mark.parametrize("how", LEAVE)
async def test_leaving_in_any_way_cancels_in_the_engine(model_folder, inproc, how):
    async with running(model_folder, "build_slow", inproc) as engine:
        params = {**GREEDY, "max_tokens": 1000}
        if how == "aclose":
            deltas = engine.generate("hello", params)
            await anext(deltas)
            await deltas.aclose()
        elif how == "break":
            async for _ in engine.generate("hello", params):
                break
        elif how in ("cancel", "stream-cancel"):

            async def read():
                if how == "cancel":
                    await collect(engine.generate("hello", params))
                else:
                    await collect(await engine.submit("hello", params))

            task = asyncio.create_task(read())
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        elif how == "throw":
            deltas = engine.generate("hello", params)
            await anext(deltas)
            with pytest.raises(ZeroDivisionError):
                await deltas.athrow(ZeroDivisionError())
        elif how == "forget":
            await engine.submit("hello", params)
            gc.collect()
        else:
            with pytest.raises(ZeroDivisionError):
                async with await engine.submit("hello", params) as stream:
                    await anext(stream)
                    raise ZeroDivisionError
        stats = await quiet(engine, 2.0)
        assert stats.finished["abort"] == 1 and stats.generated_tokens < 900


@both
async def test_two_hundred_clients_that_leave_at_random_leave_nothing_running(model_folder, inproc):
    rng = random.Random(3)
    async with running(model_folder, "build_slow", inproc) as engine:

        async def client(i):
            params = {"max_tokens": rng.choice([5, 900]), "n": rng.choice([1, 1, 2]), "temperature": 0.0}
            await collect(engine.generate(f"hello {i}", params))

        tasks = [asyncio.create_task(client(i)) for i in range(200)]

        async def leave(task):
            await asyncio.sleep(rng.random() * 1.5)
            task.cancel()

        await asyncio.gather(*(leave(task) for task in tasks))
        await asyncio.gather(*tasks, return_exceptions=True)
        stats = await quiet(engine, 2.0)
        assert sum(stats.finished.values()) == stats.submitted > 0
        assert stats.blocks_free + stats.blocks_reclaimable == stats.blocks_total


async def test_drain_lets_the_living_end_and_refuses_newcomers(model_folder):
    async with running(model_folder) as engine:
        params = {**GREEDY, "max_tokens": 60}
        tasks = [asyncio.create_task(collect(engine.generate(f"p {i}", params))) for i in range(8)]
        while engine.live() < 8:
            await asyncio.sleep(0.005)
        drained = asyncio.create_task(engine.drain(20.0))
        await asyncio.sleep(0)
        assert engine.health().state == "draining"
        with pytest.raises(Overloaded, match="shutting down"):
            await engine.submit("late", params)
        assert await drained == 0
        for result in await asyncio.gather(*tasks):
            assert result.outputs[0].finish_reason == "length" and result.usage.completion_tokens == 60


async def test_drain_aborts_what_outlives_the_limit(model_folder):
    async with running(model_folder) as engine:
        params = {**GREEDY, "max_tokens": 1000}
        streams = [await engine.submit(f"p {i}", params) for i in range(3)]
        assert await engine.drain(0.05) == 3
        for stream in streams:
            out = (await collect(stream)).outputs[0]
            assert (out.finish_reason, out.detail) == ("abort", "shutdown") and out.text


async def test_close_ends_open_streams_with_a_reason(model_folder):
    async with running(model_folder) as engine:
        stream = await engine.submit("hello", {**GREEDY, "max_tokens": 1000})
        await engine.close()
        out = (await collect(stream)).outputs[0]
        assert (out.finish_reason, out.detail) == ("abort", "shutdown")
        assert engine.health().state == "closed"


async def test_a_killed_engine_ends_every_stream_with_the_cause_and_comes_back(model_folder):
    async with running(model_folder, "build_slow", inproc=False) as engine:
        streams = [await engine.submit(f"p {i}", {**GREEDY, "max_tokens": 1000}) for i in range(16)]
        os.kill(engine._client.pid, signal.SIGKILL)
        for stream in streams:
            deltas = [delta async for delta in stream]
            assert [d.finished for d in deltas].count(True) == 1
            out = deltas[-1].outputs[0]
            assert out.finish_reason == "error" and "SIGKILL" in out.detail
        async with asyncio.timeout(20):
            while engine.health().state != "ready":
                await asyncio.sleep(0.01)
        result = await collect(engine.generate("again", {**GREEDY, "max_tokens": 4}))
        assert result.outputs[0].finish_reason == "length" and engine.health().restarts == 1


async def test_a_poisoned_request_errors_alone(model_folder):
    async with running(model_folder, "build_poisoned") as engine:
        params = {**GREEDY, "max_tokens": 20}
        names = [f"r{i}" for i in range(32)]
        jobs = [collect(engine.generate(f"p {i}", params, request_id=name)) for i, name in enumerate(names)]
        bad = collect(engine.generate("hello", params, request_id="poisoned"))
        *good, poisoned = await asyncio.gather(*jobs, bad)
        assert poisoned.outputs[0].finish_reason == "error" and "poisoned" in poisoned.outputs[0].detail
        for result in good:
            assert result.outputs[0].token_ids == fake_engine.expected(result.prompt_token_ids, 20)


async def test_failed_starts_say_why(tmp_path, model_folder):
    with pytest.raises(ConfigError, match=r"model.model: .* holds no config.json"):
        async with running(tmp_path, inproc=False):
            pass
    with pytest.raises(ConfigError, match=r"model.model: no folder"):
        async with running(tmp_path / "nowhere", inproc=False):
            pass
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ConfigError, match=r"model.tokenizer: a GGUF file's own tokenizer is not read"):
        async with running(tmp_path / "model.gguf", inproc=False):
            pass
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"model.tokenizer: expected a tokenizer"):
        async with running(tmp_path, inproc=False):
            pass
    with pytest.raises(ConfigError, match="needs at least 123 bytes"):
        async with running(model_folder, "build_refusing"):
            pass
    with pytest.raises(EngineDead, match="nothing fits"):
        async with running(model_folder, "build_failing", inproc=False):
            pass
