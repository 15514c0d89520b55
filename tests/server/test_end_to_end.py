"""The `openai` client against a real engine on a tiny random model, over a real socket."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import random
import time

import httpx
import msgspec
import openai
import pytest

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig, ServerConfig
from tests.server import tiny
from tests.server.live import serving
from tests.server.test_bad_input import error

LETTERS = {"allowed_token_ids": list(range(35, 90))}
"""Ids of one-byte characters: with these the random model writes whole characters and never ends."""
HI = [{"role": "user", "content": "hi"}]


def tiny_config(folder, inproc=True):
    return Config(
        model=ModelConfig(model=folder, served_model_name="tiny", device="cpu", dtype="float32"),
        cache=CacheConfig(kv_cache_memory_bytes=8 * 2**20),
        schedule=ScheduleConfig(max_num_seqs=16, max_num_batched_tokens=64),
        server=ServerConfig(inproc=inproc),
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tiny.build(tmp_path_factory.mktemp("tiny"))
    with serving(None, tiny_config(folder)) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def chat(client, **more):
    ask = {"model": "tiny", "messages": HI, "max_tokens": 12, "temperature": 0, **more}
    return client.chat.completions.create(**ask)


def complete(client, **more):
    return client.completions.create(**{"model": "tiny", "prompt": "abc", "max_tokens": 12, **more})


def test_chat_streamed_equals_whole(client):
    whole = chat(client)
    stream = list(chat(client, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == whole.choices[0].message.content and len(text) > 0
    assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 12
    assert (
        stream[-1].usage.completion_tokens == 12
        and stream[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    )
    assert stream[-2].choices[0].finish_reason == "length"


def test_completions_streamed_equal_whole(client):
    whole = complete(client, temperature=0)
    text = "".join(chunk.choices[0].text for chunk in complete(client, temperature=0, stream=True))
    assert text == whole.choices[0].text
    ids = complete(client, temperature=0, prompt=[2 + 1, 5, 6])
    assert ids.usage.prompt_tokens == 3


def test_a_batch_answers_each_prompt_as_if_alone(client):
    prompts = ["abc", "x", "some longer text"]
    batch = complete(client, prompt=prompts, temperature=0)
    assert [choice.index for choice in batch.choices] == [0, 1, 2]
    alone = [complete(client, prompt=prompt, temperature=0).choices[0].text for prompt in prompts]
    assert [choice.text for choice in batch.choices] == alone


def test_seeds_decide(client):
    one, two, other = (complete(client, seed=seed, temperature=1.0).choices[0].text for seed in (7, 7, 8))
    assert one == two and one != other


def test_n_answers_differ_and_the_first_is_the_single_one(client):
    many = complete(client, seed=7, n=3, extra_body={"ignore_eos": True})
    texts = [choice.text for choice in many.choices]
    assert len(set(texts)) == 3 and many.usage.completion_tokens == 36
    alone = complete(client, seed=7, extra_body={"ignore_eos": True})
    assert alone.choices[0].text == texts[0]


def test_a_stop_string_ends_the_text_before_it(client):
    ask = {"seed": 3, "max_tokens": 24, "extra_body": LETTERS}
    free = complete(client, **ask).choices[0].text
    stop = free[6:9]
    cut = complete(client, **ask, stop=stop).choices[0]
    assert cut.text == free[: free.index(stop)] and cut.finish_reason == "stop"
    assert cut.stop_reason == stop
    streamed = list(complete(client, **ask, stop=[stop], stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == cut.text
    assert streamed[-1].choices[0].finish_reason == "stop"


def test_chat_logprobs_are_of_the_tokens_sent(client):
    choice = chat(client, logprobs=True, top_logprobs=3, max_tokens=5).choices[0]
    entries = choice.logprobs.content
    assert len(entries) == 5
    assert (
        b"".join(bytes(entry.bytes) for entry in entries).decode("utf-8", "replace") == choice.message.content
    )
    for entry in entries:
        best = entry.top_logprobs
        assert len(best) == 3 and best[0].logprob >= best[1].logprob >= best[2].logprob
        assert entry.logprob == best[0].logprob <= 0  # greedy takes the likeliest


def test_echo_scores_the_prompt_as_generation_would(client):
    first = complete(client, temperature=0, max_tokens=4, logprobs=1, extra_body=LETTERS).choices[0]
    text = "abc" + first.text
    echoed = complete(client, prompt=text, max_tokens=0, echo=True, logprobs=1).choices[0]
    assert echoed.text == text and echoed.logprobs.token_logprobs[0] is None
    again = echoed.logprobs.token_logprobs[-4:]
    assert again == pytest.approx(first.logprobs.token_logprobs, abs=1e-4)
    assert "".join(echoed.logprobs.tokens) == text


def test_loglikelihood_the_way_evaluation_harnesses_ask(client):
    reply = complete(client, prompt=[[5, 6, 7], [8, 9]], max_tokens=1, echo=True, logprobs=1, temperature=0)
    for choice, length in zip(reply.choices, (3, 2), strict=True):
        scores = choice.logprobs
        assert len(scores.tokens) == len(scores.token_logprobs) == len(scores.top_logprobs) == length + 1
        assert scores.token_logprobs[0] is None
        assert all(
            token in top for token, top in zip(scores.tokens[1:], scores.top_logprobs[1:], strict=True)
        )


def test_cached_prompts_are_told(client):
    prompt = "the same long prompt " * 5
    complete(client, prompt=prompt)
    usage = complete(client, prompt=prompt).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens


def test_ignore_eos_and_min_tokens_and_allowed_ids(client):
    only_end = {"allowed_token_ids": [1]}
    ended = complete(client, extra_body=only_end).choices[0]
    assert ended.finish_reason == "stop" and ended.text == ""
    kept = complete(client, extra_body={**only_end, "ignore_eos": True}).choices[0]
    assert kept.finish_reason == "length"
    reply = complete(client, extra_body={"allowed_token_ids": [1, 70], "min_tokens": 5}, max_tokens=9)
    assert reply.usage.completion_tokens >= 5


def test_tokenize_and_back(url):
    ids = httpx.post(f"{url}/tokenize", json={"prompt": "naïve 😀"}).json()["tokens"]
    assert httpx.post(f"{url}/detokenize", json={"tokens": ids}).json() == {"prompt": "naïve 😀"}
    chat_ids = httpx.post(f"{url}/tokenize", json={"messages": HI}).json()["tokens"]
    text = httpx.post(f"{url}/detokenize", json={"tokens": chat_ids}).json()["prompt"]
    assert text == "<|user|>hi</s><|assistant|>"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"prompt": "x" * 300}, "prompt", "context_length_exceeded"),
        ({"max_tokens": tiny.CONTEXT}, "max_tokens", "context_length_exceeded"),
        ({"prompt": [10_000]}, "prompt[0]", None),
        ({"prompt": ""}, "prompt", None),
        ({"logit_bias": {"9999": 1}}, "logit_bias", None),
        ({"stop_token_ids": [9999]}, "stop_token_ids", None),
        ({"allowed_token_ids": [9999]}, "allowed_token_ids", None),
        ({"min_tokens": 20}, "min_tokens", None),
        ({"logprobs": 21}, "logprobs", None),
    ],
)
def test_what_the_model_cannot_do_is_refused(url, change, param, code):
    error(httpx.post(f"{url}/v1/completions", json={"prompt": "x", **change}), 400, param, code)


def test_a_conversation_longer_than_the_context(url):
    body = {"messages": [{"role": "user", "content": "x" * 400}]}
    error(httpx.post(f"{url}/v1/chat/completions", json=body), 400, "messages", "context_length_exceeded")


def test_errors_reach_the_client_as_its_own_exceptions(client):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        complete(client, model="other")


def test_metrics_add_up(client, url):
    def total(name):
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    before = total("vllm:generation_tokens_total"), total("vllm:request_success_total")
    complete(client, max_tokens=9, n=2, extra_body={"ignore_eos": True})
    assert total("vllm:generation_tokens_total") == before[0] + 18
    assert total("vllm:request_success_total") == before[1] + 2
    assert total("penstock:time_to_first_token_seconds_count") > 0


def test_clients_that_leave_leave_nothing_running(url):
    import asyncio

    from tests.server.test_lifecycle import visit

    port = int(url.rsplit(":", 1)[1])
    rng = random.Random(1)

    async def crowd():
        await asyncio.gather(*(visit(port, rng, number, 200) for number in range(200)))

    asyncio.run(crowd())
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        load = httpx.get(f"{url}/load").json()
        if load["server_load"] == load["running"] == load["waiting"] == 0:
            break
        time.sleep(0.02)
    assert (load["server_load"], load["running"], load["waiting"]) == (0, 0, 0)
    assert load["kv_cache_usage"] == pytest.approx(0)
    body = {"prompt": "still there?", "max_tokens": 2}
    assert httpx.post(f"{url}/v1/completions", json=body).status_code == 200


def test_a_stream_is_json_events_only(url):
    body = {"messages": HI, "stream": True, "max_tokens": 5}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line.removeprefix("data: "))["id"] for line in lines[:-1])


def test_a_program_keeps_its_kv_between_turns(tmp_path):
    config = tiny_config(tiny.build(tmp_path))
    schedule = msgspec.structs.replace(config.schedule, order="program-fcfs", retain="ttl(60s)")
    with serving(None, msgspec.structs.replace(config, schedule=schedule)) as (port, _, _):
        url = f"http://127.0.0.1:{port}"
        ask = {"model": "tiny", "prompt": list(range(40, 140)), "max_tokens": 8, "temperature": 0, **LETTERS}

        def turn(**more):
            answer = httpx.post(f"{url}/v1/completions", json={**ask, "program": "agent", **more}, timeout=30)
            assert answer.status_code == 200, answer.text
            metrics = httpx.get(f"{url}/metrics").text.splitlines()
            pinned = next(line for line in metrics if line.startswith("penstock:kv_blocks_pinned{"))
            return answer.json()["usage"], float(pinned.split()[-1])

        _, pinned = turn(turn={"index": 0, "tool": "bash"})
        assert pinned > 0
        usage, pinned = turn(prompt=list(range(40, 150)), turn={"index": 1, "last": True})
        assert usage["prompt_tokens_details"]["cached_tokens"] >= 64 and pinned == 0
