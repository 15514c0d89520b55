"""/v1/completions against a scripted engine."""

import pytest

from penstock.frontend.prompts import Text
from tests.server.conftest import events

PATH = "/v1/completions"


def ids(text):
    return [ord(c) for c in text]


@pytest.mark.parametrize("prompt", ["ab", ids("ab"), ["ab"], [ids("ab")]])
def test_every_form_of_prompt(post, engine, prompt):
    body = post(PATH, {"prompt": prompt, "max_tokens": 3}).json()
    assert body["object"] == "text_completion"
    assert [choice["text"] for choice in body["choices"]] == ["Hel"]
    assert body["usage"]["prompt_tokens"] == 2
    asked = engine.asked[0][0]
    assert asked == (Text(text="ab") if isinstance(prompt[0], str) else ids("ab"))


def test_default_limit_is_openais_sixteen(post, engine):
    post(PATH, {"prompt": "a"})
    assert "max_tokens" not in engine.asked[0][1]  # the engine's front knows it, and the room left


def test_a_batch_is_numbered_by_prompt_then_answer(post):
    body = post(PATH, {"prompt": ["a", "bcd"], "n": 2, "echo": True}).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert [choice["text"][0] for choice in body["choices"]] == ["a", "a", "b", "b"]
    assert body["usage"]["prompt_tokens"] == 4


def test_a_streamed_batch_delivers_all_of_every_answer(post):
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    body = {"prompt": ["a", "bcd", "e"], "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    *news, last = events(post(PATH, body))
    for chunk in news:
        (choice,) = chunk["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
        if choice["finish_reason"]:
            ends[choice["index"]] = choice["finish_reason"]
    assert texts == dict.fromkeys(range(6), "Hello world") and ends == dict.fromkeys(range(6), "stop")
    assert last["usage"]["prompt_tokens"] == 5


def test_echo_with_logprobs_scores_the_prompt_too(post):
    body = {"prompt": "abc", "max_tokens": 2, "echo": True, "logprobs": 2}
    choice = post(PATH, body).json()["choices"][0]
    scores = choice["logprobs"]
    assert choice["text"] == "abcHe" and scores["tokens"] == list("abcHe")
    assert scores["token_logprobs"][0] is None and scores["top_logprobs"][0] is None
    assert scores["text_offset"] == [0, 1, 2, 3, 4]
    assert all(len(top) == 2 for top in scores["top_logprobs"][1:])
    tokens, text = [], ""
    for chunk in events(post(PATH, {**body, "stream": True, "max_tokens": 5})):
        tokens += chunk["choices"][0]["logprobs"]["tokens"]
        text += chunk["choices"][0]["text"]
    assert tokens == list("abcHello") and text == "abcHello"


def test_scoring_alone_generates_nothing_visible(post, engine):
    body = post(PATH, {"prompt": ids("abc"), "max_tokens": 0, "echo": True, "logprobs": 1}).json()
    choice = body["choices"][0]
    assert choice["text"] == "abc" and choice["logprobs"]["tokens"] == list("abc")
    assert choice["finish_reason"] == "length" and body["usage"]["completion_tokens"] == 0
    assert engine.asked[0][1]["max_tokens"] == 1


def test_logprobs_zero_gives_scores_without_alternatives(post):
    scores = post(PATH, {"prompt": "a", "max_tokens": 2, "logprobs": 0}).json()["choices"][0]["logprobs"]
    assert scores["token_logprobs"] == [-0.5, -0.5] and scores["top_logprobs"] is None


def test_prompt_logprobs_are_listed_by_token_id(post):
    choice = post(PATH, {"prompt": "ab", "prompt_logprobs": 1}).json()["choices"][0]
    assert choice["prompt_logprobs"] == [
        None, {str(ord("b")): {"logprob": -0.5, "rank": 1, "decoded_token": "b"}},
    ]  # fmt: skip


def test_one_refused_prompt_leaves_none_of_the_batch_running(post, engine):
    reply = post(PATH, {"prompt": ["a", "b", "x" * 500]})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "context_length_exceeded"
    assert engine.running == {} and engine.asked == [], "all prompts are looked at before the first one runs"


def test_minus_infinity_is_still_json():
    from penstock.server.writing import finite

    assert finite(float("-inf")) == -9999.0 and finite(-1.5) == -1.5
