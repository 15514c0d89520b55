"""Responses in the background, and those who watch them, over a real socket."""

import time

import openai
import pytest

from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving


@pytest.fixture
def server():
    engine = FakeEngine()
    with serving(engine, CONFIG) as (port, _, _):
        url = f"http://127.0.0.1:{port}/v1"
        yield engine, openai.OpenAI(
            base_url=url, api_key="none", max_retries=0, _strict_response_validation=True
        )  # fmt: skip


def settled(client, response_id):
    """Ask until the response is over, as clients of background responses do."""
    deadline = time.monotonic() + 10
    while True:
        response = client.responses.retrieve(response_id)
        if response.status not in ("queued", "in_progress"):
            return response
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_answered_at_once_and_generated_behind(server):
    engine, client = server
    engine.hold = True
    made = client.responses.create(model="fake", input="hi", background=True)
    assert made.status == "queued" and made.background and made.output == []
    assert client.responses.retrieve(made.id).status == "queued"
    engine.hold = False
    done = settled(client, made.id)
    assert done.status == "completed" and done.output_text == "Hello world" and done.usage.output_tokens == 11
    after = client.responses.create(model="fake", input="more", previous_response_id=made.id)
    assert after.output_text == "Hello world" and engine.running == {}


def test_cancelling_ends_it_in_the_engine_too(server):
    engine, client = server
    engine.hold = True
    made = client.responses.create(model="fake", input="hi", background=True)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="fake", input="x", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"
    assert client.responses.cancel(made.id).status == "cancelled"
    assert engine.running == {} and len(engine.cancelled) == 1
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"


def test_deleting_ends_it_too(server):
    engine, client = server
    engine.hold = True
    made = client.responses.create(model="fake", input="hi", background=True)
    client.responses.delete(made.id)
    assert engine.running == {}
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_one_in_the_foreground_cannot_be_cancelled(server):
    made = server[1].responses.create(model="fake", input="hi")
    with pytest.raises(openai.BadRequestError):
        server[1].responses.cancel(made.id)


def test_a_failure_is_kept(server):
    engine, client = server
    engine.fail_at = 1
    failed = settled(client, client.responses.create(model="fake", input="hi", background=True).id)
    assert failed.status == "failed" and "on fire" in failed.error.message and engine.running == {}


def test_a_refusal_is_told_at_once(server):
    with pytest.raises(openai.BadRequestError) as caught:
        server[1].responses.create(model="fake", input="x" * 300, background=True)
    assert caught.value.param == "input" and server[0].running == {}


def test_a_stream_can_be_left_and_joined_again(server):
    engine, client = server
    engine.delay = 0.01
    with client.responses.create(model="fake", input="hi", background=True, stream=True) as stream:
        seen = [event for _, event in zip(range(5), stream, strict=False)]
    assert [event.type for event in seen[:2]] == ["response.created", "response.queued"]
    made, last = seen[0].response.id, seen[-1].sequence_number
    rest = list(client.responses.retrieve(made, stream=True, starting_after=last))
    assert [event.sequence_number for event in rest] == list(range(last + 1, last + 1 + len(rest)))
    assert rest[-1].type == "response.completed" and rest[-1].response.output_text == "Hello world"
    again = list(client.responses.retrieve(made, stream=True))
    assert [event.sequence_number for event in again] == list(range(last + 1 + len(rest)))
    assert engine.cancelled == []


def test_only_a_streamed_one_can_be_watched(server):
    made = server[1].responses.create(model="fake", input="hi", background=True)
    with pytest.raises(openai.BadRequestError) as caught:
        server[1].responses.retrieve(made.id, stream=True)
    assert caught.value.param == "stream"


def test_those_who_watch_see_the_end_of_a_cancelled_one(server):
    engine, client = server
    engine.hold = True
    with client.responses.create(model="fake", input="hi", background=True, stream=True) as stream:
        first = next(iter(stream))
        client.responses.cancel(first.response.id)
        rest = list(stream)
    assert rest[-1].type == "response.incomplete" and rest[-1].response.status == "cancelled"
