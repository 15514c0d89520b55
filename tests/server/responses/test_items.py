"""Input items become messages, one per turn."""

import pytest

from penstock.server.responses.items import listed, messages_of
from penstock.server.schemas.responses import ResponsesRequest
from penstock.server.turns import led_by


def items(*given):
    return ResponsesRequest.model_validate({"input": list(given)}).input


def text(role, content):
    return {"role": role, "content": content}


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "42"}


def test_a_text_is_the_users():
    assert messages_of("hi") == [text("user", "hi")]


def test_what_the_assistant_thought_said_and_called_in_a_row_is_one_message():
    thought = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [
        {"type": "reasoning_text", "text": "hm"}]}  # fmt: skip
    said = {
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
    }
    assert messages_of(items(text("user", "q"), thought, said, CALL, CALL | {"call_id": "c2"}, RESULT)) == [
        text("user", "q"),
        {
            "role": "assistant", "reasoning_content": "hm", "content": "Let me see.",
            "tool_calls": [CHAT_CALL, CHAT_CALL | {"id": "c2"}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42", "name": "f"},
    ]  # fmt: skip


def test_two_messages_of_the_assistant_stay_two():
    said = [text("assistant", "one"), text("assistant", "two")]
    assert messages_of(items(*said)) == said


def test_earlier_messages_are_neither_joined_to_nor_changed():
    earlier = [text("user", "q"), {"role": "assistant", "tool_calls": [CHAT_CALL]}]
    after = messages_of(items(CALL | {"call_id": "c2"}), earlier)
    assert after[:2] == earlier and len(after) == 3 and len(earlier[1]["tool_calls"]) == 1
    assert messages_of(items(RESULT), earlier)[-1]["name"] == "f"


def test_parts_are_joined_and_summaries_stand_in_for_reasoning():
    parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
    thought = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "s"}],
        "encrypted_content": "x",
    }
    assert messages_of(items(text("user", parts), thought)) == [
        text("user", "ab"),
        {"role": "assistant", "reasoning_content": "s"},
    ]
    assert messages_of(items({"type": "reasoning", "summary": []})) == []


@pytest.mark.parametrize("system", [None, "", "be brief"])
def test_one_system_message_leads(system):
    turns = messages_of(items(text("developer", "d"), text("system", "s"), text("user", "q")))
    lead = "\n\n".join([*([system] if system else []), "d", "s"])
    assert led_by(system, turns) == [text("system", lead), text("user", "q")]
    assert led_by(None, [text("user", "q")]) == [text("user", "q")]


def test_listed_items_have_ids_and_full_forms():
    user, call, result = listed(items(text("user", "q"), CALL | {"id": "fc_mine"}, RESULT), "k")
    assert user == {
        "id": "msg_k_in0", "type": "message", "status": "completed", "role": "user",
        "content": [{"type": "input_text", "text": "q"}],
    }  # fmt: skip
    assert call["id"] == "fc_mine" and call["arguments"] == CALL["arguments"]
    assert result["id"] == "fco_k_in2" and result["output"] == "42"
    assert listed("q", "k") == [user]
