"""From text to text through the real model, scheduler and processes."""

import asyncio
import os
import signal
from contextlib import asynccontextmanager

import pytest
import real_engine

from penstock import LLM
from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.outputs import collect

pytestmark = pytest.mark.anyio
PROMPTS = [f"hello world {i}" * (1 + i % 4) for i in range(12)]
GREEDY = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return real_engine.save_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def offline(folder):
    with LLM(str(folder), dtype="float32", kv_cache_memory_bytes=8 << 20, batch_invariant=True) as llm:
        yield llm


def settings(folder, inproc, **schedule):
    return Config(
        model=ModelConfig(model=str(folder), dtype="float32", batch_invariant=True),
        cache=CacheConfig(kv_cache_memory_bytes=8 << 20),
        schedule=ScheduleConfig(**schedule),
        server=ServerConfig(inproc=inproc),
    )


@asynccontextmanager
async def running(folder, inproc=False, build="", **schedule):
    async with await AsyncEngine.start(settings(folder, inproc, **schedule), build=build) as engine:
        yield engine


def test_offline_equals_transformers(folder, offline):
    import torch
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder)
    for result in offline.generate(PROMPTS, GREEDY):
        ids = torch.tensor([result.prompt_token_ids])
        want = model.generate(ids, max_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=0)
        assert result.outputs[0].token_ids == tuple(want[0, ids.shape[1] :].tolist())
    assert offline.info.plan and offline.info.decisions and offline.limits.eos_ids == (2,)


def test_stop_strings_and_logprobs_offline(offline):
    whole = offline.generate("hello", GREEDY, logprobs=3)[0].outputs[0]
    assert len(whole.logprobs) == 16
    for entry in whole.logprobs:
        assert entry.top[0].logprob == max(t.logprob for t in entry.top) and len(entry.top) == 3
        assert entry.rank == 1 and entry.token_id == entry.top[0].token_id
    stop = whole.text[6:9]
    cut = offline.generate("hello", GREEDY, stop=[stop])[0].outputs[0]
    assert cut.text == whole.text[: whole.text.index(stop)] and cut.finish_reason == "stop"


def test_prompt_logprobs_cover_the_prompt(offline):
    offline.generate("hello world", GREEDY)  # its prefix is cached now, and must be scored all the same
    result = offline.generate("hello world", GREEDY, prompt_logprobs=1)[0]
    assert len(result.prompt_logprobs) == len(result.prompt_token_ids)
    assert result.prompt_logprobs[0] is None
    scored = [entry.token_id for entry in result.prompt_logprobs[1:]]
    assert scored == list(result.prompt_token_ids[1:])


def test_the_completions_of_a_seed_repeat(offline):
    params = {"max_tokens": 12, "ignore_eos": True, "n": 3, "temperature": 1.0}
    first, again = (offline.generate("hello", params, seed=4)[0] for _ in range(2))
    texts = [out.token_ids for out in first.outputs]
    assert texts == [out.token_ids for out in again.outputs] and len(set(texts)) == 3
    (alone,) = offline.generate("hello", params, seed=4, n=1)
    assert alone.outputs[0].token_ids == texts[0]


@pytest.mark.parametrize("inproc", [False, True], ids=["process", "inproc"])
async def test_online_equals_offline(folder, offline, inproc):
    want = {p: r.outputs[0] for p, r in zip(PROMPTS, offline.generate(PROMPTS, GREEDY), strict=True)}
    async with running(folder, inproc, max_num_seqs=5) as engine:
        results = await asyncio.gather(*(collect(engine.generate(p, GREEDY)) for p in PROMPTS))
        for result in results:
            out = result.outputs[0]
            assert out.token_ids == want[result.prompt].token_ids and out.text == want[result.prompt].text
        assert engine.info.plan == () or any("weights" in line for line in engine.info.plan)


async def test_a_poisoned_request_errors_alone_while_32_others_are_unchanged(folder, offline):
    prompts = [f"p {i} hello" for i in range(32)]
    want = [r.outputs[0].token_ids for r in offline.generate(prompts, GREEDY)]
    async with running(folder, build="real_engine:build_poisoned") as engine:
        jobs = [collect(engine.generate(p, GREEDY)) for p in prompts]
        bad = collect(engine.generate("hello", GREEDY, request_id="poisoned"))
        *good, poisoned = await asyncio.gather(*jobs[:16], *jobs[16:], bad)
        out = poisoned.outputs[0]
        assert out.finish_reason == "error" and "poisoned" in out.detail and out.token_ids == ()
        assert [r.outputs[0].token_ids for r in good] == want
        assert engine.health().restarts == 0
        assert (await engine.stats()).running == 0


async def test_a_killed_engine_process_ends_streams_with_the_cause_and_comes_back(folder, offline):
    long = {**GREEDY, "max_tokens": 200}
    async with running(folder) as engine:
        streams = [await engine.submit(p, long) for p in PROMPTS]
        await anext(streams[0])
        os.kill(engine._client.pid, signal.SIGKILL)
        for stream in streams:
            deltas = [delta async for delta in stream]
            assert [d.finished for d in deltas].count(True) == 1
            assert deltas[-1].outputs[0].finish_reason == "error"
            assert "SIGKILL" in deltas[-1].outputs[0].detail
        async with asyncio.timeout(60):
            while engine.health().state != "ready":
                await asyncio.sleep(0.05)
        again = await collect(engine.generate(PROMPTS[3], GREEDY))
        (want,) = offline.generate(PROMPTS[3], GREEDY)
        assert again.outputs[0].token_ids == want.outputs[0].token_ids
