"""The oldest turns go, whole, until the rest fits."""

import pytest

from penstock.server.responses.fitting import fitted, room


def turn(name):
    return [
        {"role": "user", "content": name},
        {"role": "assistant", "tool_calls": []},
        {"role": "tool", "content": name},
    ]


SYSTEM = {"role": "system", "content": "s"}
TALK = [SYSTEM, *turn("a"), *turn("b"), *turn("c")]


@pytest.mark.parametrize(
    ("limit", "left"), [(10, "abc"), (9, "bc"), (7, "bc"), (6, "c"), (4, "c"), (3, "c"), (0, "c")]
)
def test_whole_turns_go_and_the_last_stays(limit, left):
    expected = [SYSTEM, *(message for name in left for message in turn(name))]
    assert fitted(TALK, limit, len) == expected


def test_an_opening_of_the_assistant_goes_with_the_first_turn():
    talk = [{"role": "assistant", "content": "hello"}, *turn("a")]
    assert fitted(talk, 3, len) == turn("a") and fitted(talk, 4, len) == talk


def test_a_long_conversation_is_counted_few_times():
    talk, calls = [message for i in range(1000) for message in turn(str(i))], []

    def count(messages):
        calls.append(len(messages))
        return len(messages)

    assert len(fitted(talk, 300, count)) == 300 and len(calls) < 12


def test_room_for_the_answer():
    assert (room(800, 100), room(800, None), room(10, 100)) == (700, 700, 1)


def test_through_the_server(post, engine):
    talk = [
        {"role": role, "content": letter * 50}
        for letter, role in (
            ("a", "user"),
            ("b", "assistant"),
            ("c", "user"),
            ("d", "assistant"),
            ("e", "user"),
        )
    ]
    body = {"input": talk, "max_output_tokens": 20}
    assert post("/v1/responses", body).status_code == 400
    reply = post("/v1/responses", {**body, "truncation": "auto"}).json()
    assert reply["status"] == "completed" and reply["truncation"] == "auto"
    assert [message["content"][0] for message in engine.asked[0][0].messages] == ["c", "d", "e"]
