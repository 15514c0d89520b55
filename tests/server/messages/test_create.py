"""/v1/messages against a scripted engine: whole answers, streams, refusals, errors in Anthropic's shape."""

import pytest

from penstock.core.output import FinishReason
from penstock.frontend.answers.reader_set import ReaderSet, Reading
from penstock.frontend.outputs import CompletionOutput, RequestOutput, Usage
from penstock.server.messages.writer import MessagesWriter
from tests.server.fakes import FakeStream, FakeTokenizer
from tests.server.responses.sse import told
from tests.server.responses.test_stream import ANSWER, TOOLS

URL = "/v1/messages"
HI = {"role": "user", "content": "hi"}
ASK = {"model": "fake", "max_tokens": 50, "messages": [HI]}


def test_a_whole_answer(post, engine):
    reply = post(URL, ASK).json()
    assert reply["type"] == "message" and reply["role"] == "assistant" and reply["model"] == "fake"
    assert reply["content"] == [{"type": "text", "text": "Hello world", "citations": None}]
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("end_turn", None)
    prompt = len("<user>hi<assistant>")
    usage = reply["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (prompt - 2, 2)
    assert usage["output_tokens"] == 11 and engine.running == {}


def test_a_limit_and_a_stop_sequence_are_told_apart(post, monkeypatch):
    assert post(URL, ASK | {"max_tokens": 5}).json()["stop_reason"] == "max_tokens"
    step = FakeStream._step

    def stopped(self):
        output = step(self)
        for out in output.outputs:
            out.stop_reason = "##" if out.finish_reason is FinishReason.STOP else None
        return output

    monkeypatch.setattr(FakeStream, "_step", stopped)
    reply = post(URL, ASK | {"stop_sequences": ["##"]}).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", "##")


def check(pairs):
    """What holds for every stream."""
    assert all(name == data["type"] for name, data in pairs)
    assert pairs[0][0] == "message_start" and pairs[0][1]["message"]["content"] == []
    ends = [i for i, (name, _) in enumerate(pairs) if name in ("message_stop", "error")]
    assert ends == [len(pairs) - 1]
    now, seen = None, 0
    for name, data in pairs:
        if name == "content_block_start":
            assert now is None and data["index"] == seen
            now, seen = seen, seen + 1
        elif name.startswith("content_block"):
            assert data["index"] == now
            now = None if name.endswith("stop") else now
    assert now is None or pairs[-1][0] == "error"


def test_a_stream(post):
    pairs = told(post(URL, ASK | {"stream": True}).text)
    check(pairs)
    assert [name for name, _ in pairs if name != "content_block_delta"] == [
        "message_start", "ping", "content_block_start", "content_block_stop", "message_delta", "message_stop"
    ]  # fmt: skip
    assert "".join(d["delta"]["text"] for name, d in pairs if name == "content_block_delta") == "Hello world"
    assert pairs[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert pairs[-2][1]["usage"]["output_tokens"] == 11


def test_a_failure_in_the_middle_is_the_terminal_event(post, engine):
    engine.fail_at = 2
    pairs = told(post(URL, ASK | {"stream": True}).text)
    check(pairs)
    assert pairs[-1][1]["error"] == {"type": "api_error", "message": "The request failed: matrix is on fire"}
    assert engine.running == {}


def write(text, stride, finish=FinishReason.STOP):
    reading = Reading(tool_parser="hermes", reasoning_parser="think", tools=TOOLS)
    writer = MessagesWriter("msg_k", "m", ReaderSet(reading, FakeTokenizer()))
    sent, pieces = b"", [text[i : i + stride] for i in range(0, len(text), stride)]
    for i, piece in enumerate(pieces):
        out = CompletionOutput(text=piece, token_ids=tuple(map(ord, piece)))
        if i == len(pieces) - 1:
            out.finish_reason = finish
        output = RequestOutput(request_id="r", prompt_token_ids=(1,), outputs=[out])
        sent += writer.news([(0, output)], Usage())
    usage = Usage(prompt_tokens=9, completion_tokens=len(text), cached_tokens=4)
    return writer, told((sent + writer.end(usage)).decode()), writer.whole(usage)


@pytest.mark.parametrize("stride", [1, 6, 1000])
def test_thinking_text_and_calls_are_blocks_of_their_own(stride):
    import json

    _, pairs, whole = write(ANSWER, stride)
    check(pairs)
    starts = [data["content_block"] for name, data in pairs if name == "content_block_start"]
    assert [block["type"] for block in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.get("input") for block in starts] == [None, None, {}, {}]
    told_whole = json.loads(whole)
    deltas = [data for name, data in pairs if name == "content_block_delta"]
    for index, block in enumerate(told_whole["content"]):
        mine = [data["delta"] for data in deltas if data["index"] == index]
        key, kind = {
            "thinking": ("thinking", "thinking_delta"),
            "text": ("text", "text_delta"),
            "tool_use": ("partial_json", "input_json_delta"),
        }[block["type"]]
        assert all(delta["type"] == kind for delta in mine)
        joined = "".join(delta[key] for delta in mine)
        assert (json.loads(joined) == block["input"]) if kind == "input_json_delta" else joined == block[key]
    assert told_whole["content"][2]["input"] == {"city": "Paris"}
    assert told_whole["stop_reason"] == pairs[-2][1]["delta"]["stop_reason"] == "tool_use"
    assert told_whole["usage"]["output_tokens_details"]["thinking_tokens"] == ANSWER.index("\n\n")


def test_a_call_that_is_cut_off_has_the_input_that_is_there():
    import json

    cut = ANSWER[: ANSWER.index('is"}}')]
    _, pairs, whole = write(cut, 4, FinishReason.LENGTH)
    check(pairs)
    reply = json.loads(whole)
    assert reply["stop_reason"] == "max_tokens"
    assert reply["content"][-1]["type"] == "tool_use" and isinstance(reply["content"][-1]["input"], dict)


def test_counting_without_generating(post, engine):
    body = {"model": "fake", "messages": [HI], "system": "be"}
    assert post(f"{URL}/count_tokens", body).json() == {
        "input_tokens": len("<system>be<user>hi<assistant>")
    }  # fmt: skip
    assert engine.asked == []


def blocks(*given, role="user"):
    return {"messages": [HI, {"role": role, "content": list(given)}]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        (blocks({"type": "image", "source": {"type": "url", "url": "u"}}), "messages[1].content[0].type"),
        (blocks({"type": "document", "source": {}}), "'document' are not served"),
        (blocks({"type": "tool_use", "id": "a", "name": "b", "input": {}}), "belong to the assistant"),
        (blocks({"type": "tool_result", "tool_use_id": "a"}, role="assistant"), "belong to the user"),
        (
            blocks({"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}),
            "messages[1].content[0].content[0].type",
        ),
        (blocks({"text": "x"}), "messages[1].content[0].type"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools[0].type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": {"type": "enabled", "budget_tokens": 50}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens"),
        ({"n": 2}, "n:"),
        ({"stop_sequences": [""]}, "stop_sequences"),
        ({"messages": [{"role": "user", "content": "x" * 300}]}, "messages:"),
    ],
)
def test_refusals_name_the_field(post, engine, change, words):
    reply = post(URL, {**ASK, **change})
    assert reply.status_code == 400
    body = reply.json()
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    assert words in body["error"]["message"] and engine.running == {}


@pytest.mark.parametrize(
    ("send", "status", "kind"),
    [
        (lambda call: call("POST", URL, json=ASK | {"model": "x"}), 404, "not_found_error"),
        (lambda call: call("POST", URL, content=b"{"), 400, "invalid_request_error"),
        (lambda call: call("POST", URL, content=b"\xff"), 400, "invalid_request_error"),
        (lambda call: call("GET", URL), 405, "invalid_request_error"),
        (lambda call: call("POST", f"{URL}/nothing", json={}), 404, "not_found_error"),
    ],
)
def test_every_error_below_the_path_has_the_shape(call, send, status, kind):
    reply = send(call)
    assert reply.status_code == status and reply.json()["error"]["type"] == kind
    assert reply.json()["type"] == "error"


def test_overload_and_failure(post, engine):
    from penstock.core.errors import Overloaded

    engine.refusal = Overloaded("too many", 3.0)
    reply = post(URL, ASK)
    assert (reply.status_code, reply.json()["error"]["type"]) == (503, "overloaded_error")
    assert reply.headers["retry-after"] == "3"
    engine.refusal, engine.fail_at = None, 0
    reply = post(URL, ASK | {"stream": True})
    assert (reply.status_code, reply.json()["error"]["type"]) == (500, "api_error")


def test_keys_come_in_either_header(engine, config):
    import asyncio

    import httpx
    import msgspec

    from penstock.server.app import create_app

    locked = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, api_key=("k1",)))
    transport = httpx.ASGITransport(app=create_app(engine, locked))

    async def go(headers):
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(URL, json=ASK, headers={"anthropic-version": "2023-06-01", **headers})

    for headers in ({"x-api-key": "k1"}, {"Authorization": "Bearer k1"}):
        assert asyncio.run(go(headers)).status_code == 200
    for headers in ({}, {"x-api-key": "k2"}):
        reply = asyncio.run(go(headers))
        assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")
