"""The bound on connections: who was here first is served, further ones are told to come back."""

import httpx
import msgspec
import pytest

from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

HI = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def url():
    """A server that takes two connections."""
    config = msgspec.structs.replace(CONFIG, server=msgspec.structs.replace(CONFIG.server, max_connections=2))
    with serving(FakeEngine(), config) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


def is_refused(reply):
    assert reply.status_code == 503 and int(reply.headers["retry-after"]) >= 1
    assert reply.headers["connection"] == "close" and reply.headers["x-request-id"]
    return True


def test_further_connections_get_the_error_of_their_protocol_and_room_is_given_back(url):
    with httpx.Client(base_url=url) as first, httpx.Client(base_url=url) as second:
        assert first.post(CHAT, json=HI).status_code == second.post(CHAT, json=HI).status_code == 200
        with httpx.Client(base_url=url) as third:
            refused = third.post(CHAT, json=HI)
            assert is_refused(refused)
            error = refused.json()["error"]
            assert error["code"] == "too_many_connections" and error["type"] == "service_unavailable_error"
            anthropic = third.post("/v1/messages", json=HI)
            assert is_refused(anthropic)
            assert anthropic.json()["type"] == "error"
            assert anthropic.json()["error"]["type"] == "overloaded_error"
            assert is_refused(third.post(CHAT, content=b"x" * 3_000_000)), "whatever it still sends"
        assert first.post(CHAT, json=HI).status_code == 200, "those who are in are not refused"
    with httpx.Client(base_url=url) as fourth:
        assert fourth.post(CHAT, json=HI).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/live", "/ready", "/ping", "/metrics"])
def test_probes_are_answered_all_the_same(url, path):
    with httpx.Client(base_url=url) as first, httpx.Client(base_url=url) as second:
        assert first.get("/live").status_code == second.get("/live").status_code == 200
        assert httpx.get(url + path).status_code == 200


def test_one_that_came_too_early_is_served_once_others_have_left(url):
    with httpx.Client(base_url=url) as third:
        with httpx.Client(base_url=url) as first, httpx.Client(base_url=url) as second:
            first.get("/live"), second.get("/live")
            assert third.get("/live").status_code == 200  # connected as a third one, by a probe
            assert is_refused(third.get("/v1/models"))
            third.get("/live")
        for _ in range(100):
            reply = third.get("/v1/models")
            if reply.status_code == 200:
                return
        raise AssertionError("refused for ever")
