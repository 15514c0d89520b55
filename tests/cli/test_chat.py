"""``penstock chat``: the conversation, its commands, and what a server gets to see."""

import io

import pytest

from penstock.cli import chat
from penstock.cli.chat_backends import _events_of
from penstock.cli.chat_view import View
from penstock.cli.main import main
from penstock.core.errors import PenstockError
from penstock.frontend.answers.events import ReasoningDelta, TextDelta, ToolCallEnd


class FakeBackend:
    """Answers with what it was told, two pieces at a time, and fails on demand."""

    def __init__(self):
        self.seen = []
        self.closed = False

    async def reply(self, messages, sampling):
        self.seen.append(([dict(message) for message in messages], sampling))
        if messages[-1]["content"] == "fail":
            raise PenstockError("no room")
        yield TextDelta("re: ")
        if messages[-1]["content"] == "stop me":
            raise KeyboardInterrupt
        yield TextDelta(messages[-1]["content"])

    async def close(self):
        self.closed = True


@pytest.fixture
def backend(monkeypatch):
    fake = FakeBackend()

    async def open_fake(args):
        return fake

    monkeypatch.setattr(chat, "_open", open_fake)
    return fake


def talk(monkeypatch, text, *flags):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return main(["chat", *flags])


def test_replies_are_remembered(monkeypatch, capsys, backend):
    assert talk(monkeypatch, "one\n\ntwo\n", "--temperature", "0", "--stop", "x") == 0
    assert capsys.readouterr().out == "re: one\nre: two\n"
    messages, sampling = backend.seen[1]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [message["content"] for message in messages] == ["one", "re: one", "two"]
    assert sampling == {"temperature": 0.0, "stop": ["x"]}
    assert backend.closed


def test_commands(monkeypatch, capsys, backend):
    talk(monkeypatch, "one\n/reset\n/system Be brief.\ntwo\n/nope\n/help\n/quit\nthree\n", "--system", "S")
    first, second = (messages for messages, _ in backend.seen)
    assert first == [{"role": "system", "content": "S"}, {"role": "user", "content": "one"}]
    assert second == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"}]
    out = capsys.readouterr().out
    assert "unknown command /nope" in out
    assert "re: three" not in out


def test_a_failed_reply_is_one_line_and_forgotten(monkeypatch, capsys, backend):
    assert talk(monkeypatch, "fail\n") == 2
    assert capsys.readouterr().err == "penstock: no room\n"
    assert talk(monkeypatch, "fail\nfine\n") == 0
    assert backend.seen[-1][0] == [{"role": "user", "content": "fine"}]


def test_an_interrupted_reply_is_kept_as_far_as_it_came(monkeypatch, capsys, backend):
    assert talk(monkeypatch, "stop me\ngo on\n") == 0
    assert backend.seen[1][0][1] == {"role": "assistant", "content": "re: "}


def test_against_a_server(monkeypatch, capsys, server):
    flags = ["--base-url", server.url, "--max-tokens", "3", "--api-key", "k"]
    assert talk(monkeypatch, "Hello\n", *flags) == 0
    assert capsys.readouterr().out == "xxx\n"
    (body,) = server.bodies
    assert body["model"] == "tiny"
    assert body["messages"] == [{"role": "user", "content": "Hello"}]
    assert (body["max_tokens"], body["stream"]) == (3, True)
    assert server.headers[0]["Authorization"] == "Bearer k"


def test_a_server_that_refuses(monkeypatch, capsys, server):
    server.refuse = "messages: too long"
    assert talk(monkeypatch, "Hello\n", "--base-url", server.url) == 2
    assert capsys.readouterr().err == "penstock: HTTP 400: messages: too long\n"


def test_no_server(monkeypatch, capsys):
    assert talk(monkeypatch, "Hello\n", "--base-url", "http://127.0.0.1:9") == 2
    assert "no OpenAI-compatible server answers at http://127.0.0.1:9" in capsys.readouterr().err


def test_reasoning_is_dimmed_and_calls_are_readable():
    deltas = [
        {"role": "assistant", "content": ""}, {"reasoning_content": "hm"}, {"reasoning": ", hm"},
        {"content": "Yes."},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a": 1}'}}]},
        {"tool_calls": [{"index": 1, "id": "d", "function": {"name": "g", "arguments": "{}"}}]},
    ]  # fmt: skip
    events = [event for delta in deltas for event in _events_of(delta)]
    view = View(styled=True)
    shown = "".join(map(view.show, events)) + view.end()
    assert shown == '\x1b[2mhm, hm\x1b[22m\n\nYes.\n-> f({"a": 1})\n-> g({})'
    plain = View(styled=False)
    assert (
        "".join(map(plain.show, [*events, ToolCallEnd(1), TextDelta("ok")]))
        == 'Yes.\n-> f({"a": 1})\n-> g({})ok'
    )
    cut = View(styled=True)
    assert cut.show(ReasoningDelta("x")) + cut.end() == "\x1b[2mx\x1b[22m"
