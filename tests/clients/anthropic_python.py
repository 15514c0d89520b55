"""Anthropic's Python client. `pip install anthropic`, then `python anthropic_python.py --base-url http://...`."""

import anthropic
from harness import Checks

check = Checks("anthropic")
client = anthropic.Anthropic(base_url=check.root, api_key=check.key, max_retries=0, timeout=120)
COUNT = [{"role": "user", "content": "Count from two to five."}]
GREEDY = {"temperature": 0}  # the newest client has no argument for it
TOOL = {
    "name": "weather",
    "description": "Say what the weather is.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Rome", "Oslo"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def create(**more):
    asked = {"model": check.model, "messages": COUNT, "max_tokens": 24, "extra_body": GREEDY, **more}
    return client.messages.create(**asked)


@check
def message():
    reply = create(system="You are brief.", stop_sequences=["@@"], metadata={"user_id": "u"})
    assert reply.content[0].type == "text" and reply.role == "assistant"
    assert reply.stop_reason in ("end_turn", "max_tokens") and reply.usage.output_tokens > 0


@check
def stream():
    asked = {"model": check.model, "messages": COUNT, "max_tokens": 24, "extra_body": GREEDY}
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == create().content[0].text


@check
def raw_events():
    kinds = [event.type for event in create(stream=True)]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop" and "content_block_delta" in kinds


@check
def count_tokens():
    counted = client.messages.count_tokens(model=check.model, messages=COUNT).input_tokens
    assert counted == create(max_tokens=1).usage.input_tokens


@check
def parts_and_prefill():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Count from two to five."}]},
        {"role": "assistant", "content": "2, 3"},
    ]
    assert create(messages=turns).content is not None


@check
def tools():
    reply = create(tools=[TOOL], tool_choice={"type": "tool", "name": "weather"}, max_tokens=200)
    assert reply.stop_reason == "tool_use"
    (use,) = [block for block in reply.content if block.type == "tool_use"]
    assert use.input["city"] in ("Rome", "Oslo")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns = [*COUNT, {"role": "assistant", "content": reply.content}, {"role": "user", "content": [result]}]
    assert create(messages=turns, tools=[TOOL]).content is not None


@check
def tools_stream():
    asked = {"model": check.model, "messages": COUNT, "max_tokens": 200, "tools": [TOOL]}
    with client.messages.stream(**asked, tool_choice={"type": "any"}) as stream:
        final = stream.get_final_message()
    assert [block.input["city"] for block in final.content if block.type == "tool_use"]


@check
def models():
    found = client.models.list(limit=5).data
    assert [one.id for one in found] == [check.model]


@check
def errors():
    for asked, kind in (
        ({"model": "nobody"}, anthropic.NotFoundError),
        ({"max_tokens": 0}, anthropic.BadRequestError),
    ):
        try:
            create(**asked)
        except kind as exc:
            assert exc.body["type"] == "error" and exc.body["error"]["message"]
        else:
            raise AssertionError(f"{asked} was accepted")


check.end()
