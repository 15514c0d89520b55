"""The events of a streamed response: their order, their numbers, their end."""

import pytest

from penstock.core.output import FinishReason
from penstock.frontend.answers.reader_set import ReaderSet, Reading
from penstock.frontend.outputs import CompletionOutput, RequestOutput, Usage
from penstock.server.errors import APIError
from penstock.server.responses.objects import new_response
from penstock.server.responses.writer import ResponsesWriter
from penstock.server.schemas.responses import ResponsesRequest
from tests.server.fakes import FakeTokenizer
from tests.server.responses.sse import told

URL = "/v1/responses"
TERMINAL = {"response.completed", "response.incomplete", "response.failed"}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("get", "put")]
ANSWER = (
    "<think>Let me\nsee.</think>\n\nSure."
    '<tool_call>\n{"name": "get", "arguments": {"city": "Paris"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "put", "arguments": {}}\n</tool_call>'
)


def events(post, body):
    reply = post(URL, {"stream": True, **body})
    assert reply.headers["content-type"].startswith("text/event-stream")
    pairs = told(reply.text)
    check(pairs)
    return pairs


def check(pairs):
    """What holds for every stream."""
    assert all(name == data["type"] for name, data in pairs)
    assert [data["sequence_number"] for _, data in pairs] == list(range(len(pairs)))
    assert pairs[0][0] == "response.created"
    assert [i for i, (name, _) in enumerate(pairs) if name in TERMINAL] == [len(pairs) - 1]
    opened, closed = set(), set()
    for name, data in pairs:
        if name == "response.output_item.added":
            assert opened == closed and data["output_index"] == len(opened)
            opened.add(data["item"]["id"])
        elif name == "response.output_item.done":
            closed.add(data["item"]["id"])
        elif "item_id" in data:
            assert data["item_id"] in opened - closed
    assert opened == closed


def names(pairs):
    """Return the names without their prefix, repeated deltas once."""
    short = [name.removeprefix("response.") for name, _ in pairs]
    return [name for i, name in enumerate(short) if not (i and name == short[i - 1])]


MESSAGE = [
    "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
    "content_part.done", "output_item.done",
]  # fmt: skip
REASONING = [name.replace("output_text", "reasoning_text") for name in MESSAGE]
CALL = [
    "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"
]  # fmt: skip


def test_a_message_from_created_to_completed(post):
    pairs = events(post, {"input": "hi"})
    assert names(pairs) == ["created", "in_progress", *MESSAGE, "completed"]
    deltas = [data["delta"] for name, data in pairs if name.endswith("text.delta")]
    assert "".join(deltas) == "Hello world" and len(deltas) == 4
    last = pairs[-1][1]["response"]
    assert last["status"] == "completed" and last["usage"]["output_tokens"] == 11
    assert pairs[-2][1]["item"] == last["output"][0]
    assert pairs[0][1]["response"]["status"] == "in_progress" and pairs[0][1]["response"]["output"] == []


def test_streamed_equals_whole(post):
    whole = post(URL, {"input": "hi", "top_logprobs": 1}).json()["output"][0]["content"]
    last = events(post, {"input": "hi", "top_logprobs": 1})
    assert last[-1][1]["response"]["output"][0]["content"] == whole
    streamed = [entry for name, data in last if name.endswith("text.delta") for entry in data["logprobs"]]
    assert streamed == whole[0]["logprobs"]


def test_a_limit_ends_it_as_incomplete(post):
    pairs = events(post, {"input": "hi", "max_output_tokens": 4})
    assert pairs[-1][0] == "response.incomplete"
    assert pairs[-1][1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_failure_in_the_middle_is_the_terminal_event(post, engine, call):
    engine.fail_at = 2
    reply = post(URL, {"stream": True, "input": "hi"})
    pairs = told(reply.text)
    assert pairs[-1][0] == "response.failed" and sum(name in TERMINAL for name, _ in pairs) == 1
    failed = pairs[-1][1]["response"]
    assert failed["status"] == "failed" and "on fire" in failed["error"]["message"]
    assert call("GET", f"{URL}/{failed['id']}").json() == failed and engine.running == {}
    again = post(URL, {"input": "x", "previous_response_id": failed["id"]})
    assert again.status_code == 400


def test_a_failure_before_the_first_news_has_its_true_status(post, engine):
    engine.fail_at = 0
    assert post(URL, {"stream": True, "input": "hi"}).status_code == 500


def test_an_empty_answer_is_an_empty_message(post, engine):
    engine.text = ""
    pairs = events(post, {"input": "hi"})
    assert names(pairs)[2:-1] == [name for name in MESSAGE if name != "output_text.delta"]


def write(text, stride, finish=FinishReason.STOP, streamed=True):
    """Tell a text that is cut into pieces through the real parsers; return the writer and its events."""
    reading = Reading(tool_parser="hermes", reasoning_parser="think", tools=TOOLS)
    reader = ReaderSet(reading, FakeTokenizer())
    body = ResponsesRequest.model_validate({"input": "q"})
    writer = ResponsesWriter(new_response(body, "resp_k", "m", False), reader, streamed, lambda *_: None)
    sent, pieces = b"", [text[i : i + stride] for i in range(0, len(text), stride)]
    for i, piece in enumerate(pieces):
        out = CompletionOutput(text=piece, token_ids=tuple(map(ord, piece)))
        if i == len(pieces) - 1:
            out.finish_reason = finish
        batch = [(0, RequestOutput(request_id="r", prompt_token_ids=(1,), outputs=[out]))]
        sent += writer.news(batch, Usage())
    sent += writer.end(Usage(prompt_tokens=1, completion_tokens=len(text)))
    return writer, told(sent.decode())


@pytest.mark.parametrize("stride", [1, 5, 1000])
def test_reasoning_text_and_calls_are_items_of_their_own(stride):
    writer, pairs = write(ANSWER, stride)
    check(pairs)
    assert names(pairs) == [
        "created", "in_progress", *REASONING, *MESSAGE, *CALL, *CALL, "completed"
    ]  # fmt: skip
    reasoning, message, get, put = pairs[-1][1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Let me\nsee."}]
    assert message["content"][0]["text"].strip() == "Sure."
    assert (get["name"], put["name"]) == ("get", "put") and get["call_id"] != put["call_id"]
    assert get["arguments"].replace(" ", "") == '{"city":"Paris"}' and put["arguments"] == "{}"
    assert writer.response.usage.output_tokens_details.reasoning_tokens == ANSWER.index("\n\n")


def test_without_a_stream_nothing_is_written_and_the_response_is_the_same():
    streamed, _ = write(ANSWER, 7)
    silent, pairs = write(ANSWER, 7, streamed=False)
    assert pairs == []
    ours, theirs = silent.response.output, streamed.response.output
    assert [type(item) for item in ours] == [type(item) for item in theirs]
    assert [getattr(item, "arguments", None) for item in ours] == [
        getattr(item, "arguments", None) for item in theirs
    ]


def test_a_call_that_is_cut_off_is_incomplete():
    cut = ANSWER[: ANSWER.index("Paris")]
    writer, pairs = write(cut, 3, FinishReason.LENGTH)
    check(pairs)
    assert writer.response.status == "incomplete" and writer.response.output[-1].status == "incomplete"


def test_a_limit_that_is_reached_is_said_in_the_error():
    writer, _ = write("x", 1)
    writer.fail(APIError(429, "too much"))
    assert writer.response.error.code == "rate_limit_exceeded"
