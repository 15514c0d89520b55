"""/v1/chat/completions against a scripted engine."""

import json

from penstock.core.request import SLO, Turn
from penstock.frontend.prompts import Chat
from tests.server.conftest import events

CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]


def test_whole_answer_has_openai_shape(post, engine):
    reply = post(CHAT, {"model": "fake", "messages": HI, "max_tokens": 5})
    assert reply.status_code == 200
    body = reply.json()
    assert body["object"] == "chat.completion" and body["model"] == "fake"
    assert body["id"].startswith("chatcmpl-") and body["system_fingerprint"].startswith("fp_")
    choice = body["choices"][0]
    assert choice["message"] == {"content": "Hello", "role": "assistant", "refusal": None}
    assert choice["finish_reason"] == "length" and choice["logprobs"] is None
    prompt = len("<user>hi<assistant>")
    assert body["usage"] == {
        "prompt_tokens": prompt, "completion_tokens": 5, "total_tokens": prompt + 5,
        "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip
    assert engine.running == {} and engine.cancelled == []


def test_stream_concatenates_to_the_whole_answer_and_ends_with_done(post):
    reply = post(CHAT, {"messages": HI, "stream": True, "stream_options": {"include_usage": True}})
    assert reply.headers["content-type"].startswith("text/event-stream")
    chunks = events(reply)
    *news, last = chunks
    assert [chunk["object"] for chunk in chunks] == ["chat.completion.chunk"] * len(chunks)
    assert news[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in news[1:])
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in news) == "Hello world"
    assert [chunk["choices"][0]["finish_reason"] for chunk in news] == [None] * (len(news) - 1) + ["stop"]
    assert all(chunk["usage"] is None for chunk in news)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 11


def test_stream_without_options_has_no_usage_and_continuous_has_it_everywhere(post):
    assert all("usage" not in chunk for chunk in events(post(CHAT, {"messages": HI, "stream": True})))
    options = {"include_usage": True, "continuous_usage_stats": True}
    chunks = events(post(CHAT, {"messages": HI, "stream": True, "stream_options": options}))
    assert all(chunk["usage"]["prompt_tokens"] for chunk in chunks)


def test_several_answers_are_told_apart_by_index(post):
    body = post(CHAT, {"messages": HI, "n": 3}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    texts = {}
    for chunk in events(post(CHAT, {"messages": HI, "n": 3, "stream": True})):
        (choice,) = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["delta"]["content"]
    assert texts == dict.fromkeys(range(3), "Hello world")


def test_logprobs_whole_and_streamed_agree(post):
    ask = {"messages": HI, "logprobs": True, "top_logprobs": 2}
    whole = post(CHAT, ask).json()["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in whole] == list("Hello world")
    assert whole[0]["bytes"] == [ord("H")] and len(whole[0]["top_logprobs"]) == 2
    streamed = []
    for chunk in events(post(CHAT, {**ask, "stream": True})):
        streamed += chunk["choices"][0]["logprobs"]["content"]
    assert streamed == whole


def test_what_the_engine_is_asked(post, engine):
    post(
        CHAT,
        {
            "messages": [{"role": "system", "content": [{"type": "text", "text": "be"}]}, *HI],
            "max_tokens": 9, "max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": -1,
            "seed": -1, "stop": "x", "logit_bias": {"5": 1.5}, "presence_penalty": 1, "user": "ann",
            "priority": -2, "slo": {"ttft_ms": 200}, "cache_salt": "s", "service_tier": "auto", "store": True,
            "n": None,
        },
        headers={"traceparent": "00-ab-cd-01"},
    )  # fmt: skip
    prompt, params, options = engine.asked[0]
    assert isinstance(prompt, Chat) and prompt.add_generation_prompt
    assert prompt.messages[0] == {"role": "system", "content": "be"}
    assert params == {
        "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 0, "seed": 2**63 - 1, "stop": ["x"],
        "logit_bias": {5: 1.5}, "presence_penalty": 1.0,
    }  # fmt: skip
    assert (options.tenant, options.priority, options.cache_namespace) == ("ann", -2, "s")
    assert options.slo == SLO(ttft=0.2) and options.trace == "00-ab-cd-01"


def test_turns_of_a_program(post, engine):
    post(CHAT, {"messages": HI, "program": "agent-7", "turn": {"index": 2, "tool": "bash"}})
    post(CHAT, {"messages": HI, "program": "agent-7", "turn": {"last": True, "tool": None}})
    post(CHAT, {"messages": HI, "program": "agent-7"})
    assert [asked[2].program for asked in engine.asked] == ["agent-7"] * 3
    assert [asked[2].turn for asked in engine.asked] == [Turn(index=2, tool="bash"), Turn(last=True), None]


def test_tenant_wins_over_user(post, engine):
    post(CHAT, {"messages": HI, "user": "ann", "tenant": "acme"})
    assert engine.asked[0][2].tenant == "acme"


def test_going_on_with_the_last_message_begins_no_new_one(post, engine):
    body = {
        "messages": [*HI, {"role": "assistant", "content": "So"}],
        "continue_final_message": True,
        "echo": True,
    }
    reply = post(CHAT, body).json()
    prompt = engine.asked[0][0]
    assert prompt.continue_final_message and not prompt.add_generation_prompt
    assert reply["choices"][0]["message"]["content"] == "SoHello world"


def test_token_ids_on_request(post):
    body = post(CHAT, {"messages": HI, "return_token_ids": True, "max_tokens": 2}).json()
    assert body["choices"][0]["token_ids"] == [ord("H"), ord("e")]
    assert "".join(map(chr, body["prompt_token_ids"])) == "<user>hi<assistant>"


def test_request_id_is_taken_and_given_back(post):
    reply = post(CHAT, {"messages": HI}, headers={"X-Request-Id": "abc-1"})
    assert reply.headers["x-request-id"] == "abc-1" and reply.json()["id"] == "chatcmpl-abc-1"
    reply = post(CHAT, {"messages": HI}, headers={"X-Request-Id": "bad id \x07"})
    assert reply.headers["x-request-id"] != "bad id \x07" and len(reply.headers["x-request-id"]) == 32
    assert post(CHAT, {"messages": HI, "request_id": "mine"}).json()["id"] == "chatcmpl-mine"


def test_failure_before_the_first_token_has_a_true_status_also_when_streaming(post, engine):
    engine.fail_at = 0
    for stream in (False, True):
        reply = post(CHAT, {"messages": HI, "stream": stream})
        assert reply.status_code == 500
        assert "matrix is on fire" in reply.json()["error"]["message"]
    assert engine.running == {}


def test_failure_in_mid_stream_is_an_error_event_and_then_the_end(post, engine):
    engine.fail_at = 2
    reply = post(CHAT, {"messages": HI, "stream": True})
    assert reply.status_code == 200
    *news, last = events(reply)
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in news) == "Hello "
    assert last["error"]["code"] == "generation_failed" and "matrix is on fire" in last["error"]["message"]


def test_an_id_in_use_is_made_unique(engine):
    from penstock.server.answer import answer_id
    from penstock.server.service import build_service

    service = build_service(engine, engine.config)
    service.live["cmpl-x"] = None
    assert answer_id(service, None, "cmpl", "x") == "cmpl-x.1"


def test_events_that_are_ready_together_are_one_write(engine, config):
    """A stream is as few writes as news: with three answers per step, one write carries three events."""
    import asyncio

    from penstock.server.app import create_app

    sent = []
    body = json.dumps({"messages": HI, "n": 3, "stream": True}).encode()
    inbox = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if inbox:
            return inbox.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode(), "query_string": b"",
        "headers": [], "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
    }  # fmt: skip
    engine.stride = 100
    asyncio.run(create_app(engine, config)(scope, receive, send))
    bodies = [message["body"] for message in sent if message["type"] == "http.response.body"]
    assert len(bodies) == 2 and bodies[1] == b""
    assert bodies[0].count(b"data: ") == 4 and bodies[0].endswith(b"data: [DONE]\n\n")
