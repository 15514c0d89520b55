"""Anthropic's body becomes a chat."""

import pytest

from penstock.core.errors import InvalidRequest
from penstock.server.messages.translate import chat_of
from penstock.server.schemas.messages import MessagesRequest

HI = {"role": "user", "content": "hi"}
TOOL = {"name": "get", "description": "d", "input_schema": {"type": "object", "properties": {}}}


def chat(thinks=True, **more):
    body = {"max_tokens": 50, "messages": [HI], **more}
    return chat_of(MessagesRequest.model_validate(body), thinks)


def messages(*given, **more):
    turns = chat(messages=list(given), **more).messages
    return [message.model_dump(exclude_none=True, exclude_defaults=True) for message in turns]


def text(value):
    return {"type": "text", "text": value}


def test_system_as_text_and_as_blocks():
    lead = {"role": "system", "content": "a\n\nb"}
    blocks = [text("a"), text("b") | {"cache_control": {"type": "ephemeral"}}]
    assert messages(HI, system="a\n\nb") == messages(HI, system=blocks) == [lead, HI]


def test_a_turn_with_tools_and_back():
    use = {"type": "tool_use", "id": "t1", "name": "get", "input": {"city": "Zürich"}}
    answer = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "?"},
        text("Let me see."),
        use,
        use | {"id": "t2"},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "content": [text("no "), text("idea")],
            "is_error": True,
        },
        text("So?"),
    ]
    turns = messages(HI, {"role": "assistant", "content": answer}, {"role": "user", "content": results})
    assert [turn["role"] for turn in turns] == ["user", "assistant", "tool", "tool", "user"]
    said, first, second, last = turns[1:]
    assert (said["reasoning_content"], said["content"]) == ("hm", "Let me see.")
    assert len(said["tool_calls"]) == 2
    assert (first["tool_call_id"], first["content"]) == ("t1", "sunny")
    assert (second["tool_call_id"], second["content"]) == ("t2", "no idea")
    assert last["content"] == "So?"


def test_a_last_message_of_the_assistant_is_gone_on_with():
    assert chat().continue_final_message is None
    assert chat(messages=[HI, {"role": "assistant", "content": "The"}]).continue_final_message is True
    use = {"type": "tool_use", "id": "t1", "name": "get", "input": {}}
    called = chat(messages=[HI, {"role": "assistant", "content": [use]}])
    assert called.continue_final_message is None


def test_how_tokens_are_chosen():
    found = chat(
        temperature=0.3, top_k=5, top_p=0.8, stop_sequences=["x"], metadata={"user_id": "ann"}, seed=4
    )  # fmt: skip
    assert (found.limit(), found.temperature, found.top_k, found.top_p) == (50, 0.3, 5, 0.8)
    assert (found.stops(), found.user, found.seed) == (("x",), "ann", 4)


def test_thinking_is_switched_in_the_words_of_templates():
    on = {"type": "enabled", "budget_tokens": 20}
    assert chat(thinking=on).chat_template_kwargs == {"enable_thinking": True}
    assert chat(thinking=on).thinking_token_budget == 20
    assert chat(thinks=False, thinking=on).thinking_token_budget is None
    assert chat(thinking={"type": "disabled"}).chat_template_kwargs == {"enable_thinking": False}
    assert chat().chat_template_kwargs is chat(thinking={"type": "adaptive"}).chat_template_kwargs is None


@pytest.mark.parametrize(
    ("choice", "chosen", "parallel"),
    [
        ({"type": "auto"}, "auto", None),
        ({"type": "none"}, "none", None),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", False),
    ],
)
def test_tool_choice(choice, chosen, parallel):
    found = chat(tools=[TOOL], tool_choice=choice)
    assert found.tool_choice == chosen and found.parallel_tool_calls is parallel
    assert found.tools[0].function.name == "get"


def test_one_tool_by_name():
    found = chat(tools=[TOOL], tool_choice={"type": "tool", "name": "get"})
    assert found.tool_choice.function.name == "get"
    assert found.tools[0].function.parameters == TOOL["input_schema"]


def test_without_tools_there_is_no_choice():
    assert chat(tool_choice={"type": "auto"}).tool_choice is None
    with pytest.raises(InvalidRequest):
        chat(tool_choice={"type": "any"})
