"""/v1/responses against a scripted engine: whole answers, fields, refusals."""

import pytest

from tests.server.fakes import FakeEngine
from tests.server.test_bad_input import error

URL = "/v1/responses"


def test_a_whole_answer(post, engine):
    reply = post(URL, {"model": "fake", "input": "hi", "instructions": "be", "metadata": {"a": "b"}}).json()
    assert reply["object"] == "response" and reply["status"] == "completed" and reply["error"] is None
    assert reply["metadata"] == {"a": "b"} and reply["instructions"] == "be" and reply["store"] is True
    (item,) = reply["output"]
    assert item["type"] == "message" and item["role"] == "assistant" and item["status"] == "completed"
    assert item["content"] == [
        {"type": "output_text", "text": "Hello world", "annotations": [], "logprobs": []}
    ]
    prompt = len("<system>be<user>hi<assistant>")
    assert reply["usage"] == {
        "input_tokens": prompt, "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 11, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": prompt + 11,
    }  # fmt: skip
    assert engine.running == {} and engine.cancelled == []


def test_what_the_engine_is_asked(post, engine):
    post(
        URL,
        {
            "input": "hi", "max_output_tokens": 7, "temperature": 0.5, "top_p": 0.9, "user": "ann",
            "top_k": 3, "seed": 5, "stop": ["x"], "cache_salt": "s", "priority": 2, "top_logprobs": 2,
            "reasoning": {"effort": "low", "summary": "auto"}, "text": {"format": {"type": "text"}},
            "include": ["reasoning.encrypted_content"], "truncation": "disabled", "tools": [],
            "tool_choice": "auto", "parallel_tool_calls": True, "service_tier": "auto",
        },
    )  # fmt: skip
    _, params, options = engine.asked[0]
    asked = {
        "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 5, "stop": ["x"], "logprobs": 2
    }  # fmt: skip
    assert {name: params[name] for name in asked} == asked
    assert (options.tenant, options.cache_namespace, options.priority) == ("ann", "s", 2)


def test_a_limit_makes_it_incomplete(post):
    reply = post(URL, {"input": "hi", "max_output_tokens": 5}).json()
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    assert reply["output"][0]["status"] == "incomplete"
    assert reply["output"][0]["content"][0]["text"] == "Hello"


def test_an_answer_without_text_is_an_empty_message(post, engine):
    engine.text = ""
    reply = post(URL, {"input": "hi"}).json()
    assert reply["status"] == "completed" and reply["output"][0]["content"][0]["text"] == ""


def test_logprobs_by_either_way_of_asking(post):
    for more in ({"top_logprobs": 1}, {"include": ["message.output_text.logprobs"]}):
        part = post(URL, {"input": "hi", **more}).json()["output"][0]["content"][0]
        assert [entry["token"] for entry in part["logprobs"]] == list("Hello world")
        assert all(len(entry["top_logprobs"]) == more.get("top_logprobs", 0) for entry in part["logprobs"])


def test_going_on_after_a_stored_response(post, call, engine):
    first = post(URL, {"input": "one", "instructions": "only once"}).json()
    second = post(URL, {"input": "two", "previous_response_id": first["id"]}).json()
    assert second["previous_response_id"] == first["id"]
    assert [(m["role"], m["content"]) for m in engine.asked[1][0].messages] == [
        ("user", "one"), ("assistant", "Hello world"), ("user", "two")
    ]  # fmt: skip
    assert call("GET", f"{URL}/{second['id']}").json() == second
    listing = call("GET", f"{URL}/{second['id']}/input_items").json()
    assert [item["content"][0]["text"] for item in listing["data"]] == ["two"]
    assert call("DELETE", f"{URL}/{second['id']}").json()["deleted"] is True
    error(call("GET", f"{URL}/{second['id']}"), 404, "response_id", "not_found")
    third = post(URL, {"input": "x", "previous_response_id": second["id"]})
    error(third, 400, "previous_response_id", "previous_response_not_found")


def test_what_is_not_to_be_stored_is_not(post, call):
    reply = post(URL, {"input": "one", "store": False}).json()
    assert reply["store"] is False
    error(call("GET", f"{URL}/{reply['id']}"), 404, "response_id", "not_found")


def test_input_items_page_by_page(post, call):
    turns = [{"role": "user", "content": str(i)} for i in range(5)]
    made = post(URL, {"input": turns}).json()["id"]

    def page(**params):
        reply = call("GET", f"{URL}/{made}/input_items", params=params).json()
        return [item["content"][0]["text"] for item in reply["data"]], reply

    assert page()[0] == list("43210") and page(order="asc", limit=2)[0] == ["0", "1"]
    _, reply = page(order="asc", limit=2)
    assert reply["has_more"] is True
    assert page(order="asc", after=reply["last_id"])[0] == ["2", "3", "4"]
    error(call("GET", f"{URL}/{made}/input_items", params={"after": "no"}), 400, "after", "invalid_value")


def test_counting_without_generating(post, engine):
    reply = post(f"{URL}/input_tokens", {"input": "hi", "instructions": "be"}).json()
    assert reply == {
        "object": "response.input_tokens", "input_tokens": len("<system>be<user>hi<assistant>")
    }  # fmt: skip
    assert engine.asked == []


def part(kind):
    return {"input": [{"role": "user", "content": [{"type": kind, "image_url": "u"}]}]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        (part("input_image"), "input[0].content[0].type"),
        (part("input_file"), "input[0].content[0].type"),
        (part("input_audio"), "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"refusal": ""}]}]}, "input[0].content[0].type"),
        ({"input": "x", "tools": [{"name": "f"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "x", "tool_choice": {"type": "mcp"}}, "tool_choice.type"),
        ({"input": "x", "tool_choice": "required"}, "tool_choice"),
        ({"input": "x", "n": 2}, "n"),
        ({"input": "x", "prompt": {"id": "p"}}, "prompt"),
        ({"input": "x", "conversation": "c"}, "conversation"),
        ({"input": "x", "max_output_tokens": 0}, "max_output_tokens"),
        ({"input": "x", "background": True, "store": False}, "background"),
        ({"input": "x", "text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
        ({"input": "x", "metadata": {"k" * 65: "v"}}, "metadata"),
        ({"input": "x" * 300}, "input"),
    ],
)
def test_refusals_name_the_field(post, engine, body, param):
    reply = post(URL, body)
    assert reply.status_code == 400 and reply.json()["error"]["param"] == param
    assert engine.running == {}


def test_part_types_that_are_served_are_said(post):
    message = post(URL, part("input_image")).json()["error"]["message"]
    assert "'input_image'" in message and "input_text" in message


def test_a_failure_has_its_true_status(post, engine):
    engine.fail_at = 1
    error(post(URL, {"input": "x"}), 500, None, "generation_failed")


def test_a_long_input_says_so_in_its_own_words(post):
    reply = post(URL, {"input": "x" * 300}).json()["error"]
    assert reply["code"] == "context_length_exceeded" and reply["message"].startswith("input: ")


def test_a_server_that_stores_nothing(engine, config):
    import asyncio

    import httpx
    import msgspec

    from penstock.server.app import create_app

    bare = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, responses_bytes=0))
    transport = httpx.ASGITransport(app=create_app(FakeEngine(), bare))

    async def go():
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            plain = await client.post(URL, json={"input": "x"})
            behind = await client.post(URL, json={"input": "x", "background": True})
            return plain, behind

    plain, behind = asyncio.run(go())
    assert plain.json()["store"] is False
    error(behind, 400, "background", "invalid_value")
