"""`/generate` and `/inference/v1/generate`: token ids in and out."""

from tests.server.conftest import events
from tests.server.test_bad_input import error

TEXT = "Hello world"
IDS = [ord(c) for c in TEXT]


def test_one_prompt_is_answered_by_one_object(post):
    reply = post("/generate", {"text": "hi"}).json()
    assert reply["text"] == TEXT and reply["output_ids"] == IDS
    meta = reply["meta_info"]
    assert meta["finish_reason"] == {"type": "stop", "matched": None}
    assert (meta["prompt_tokens"], meta["completion_tokens"], meta["cached_tokens"]) == (2, 11, 2)
    assert meta["e2e_latency"] == 0.5 and abs(meta["queue_time"] - 0.1) < 1e-9


def test_a_list_is_answered_by_a_list(post, engine):
    params = [{"max_new_tokens": 2, "n": 2}, {"max_tokens": 4}]
    reply = post("/generate", {"input_ids": [[97], [98, 99]], "sampling_params": params}).json()
    assert [one["text"] for one in reply] == ["He", "He", "Hell"]
    assert [one["meta_info"]["id"][-2:] for one in reply] == ["_0", "_1", "_2"]
    assert reply[2]["meta_info"]["finish_reason"] == {"type": "length", "length": 4}
    assert len(post("/generate", {"text": ["one"]}).json()) == 1
    assert [ask[0] for ask in engine.asked[:2]] == [[97], [98, 99]]


def test_scores(post):
    ask = {"input_ids": [97, 98, 99], "return_logprob": True, "top_logprobs_num": 2, "logprob_start_len": 1}
    meta = post("/generate", {**ask, "return_text_in_logprobs": True}).json()["meta_info"]
    assert meta["input_token_logprobs"] == [[-0.5, 98, "b"], [-0.5, 99, "c"]]
    assert meta["output_token_logprobs"][0] == [-0.5, ord("H"), "H"]
    assert meta["output_top_logprobs"][0] == [[-0.5, ord("H"), "H"], [-1.5, ord("I"), "I"]]
    meta = post("/generate", {**ask, "logprob_start_len": 0}).json()["meta_info"]
    assert meta["input_token_logprobs"][0] == [None, 97, None] and meta["input_top_logprobs"][0] is None
    assert "input_token_logprobs" not in post("/generate", {"text": "x"}).json()["meta_info"]


def test_events_hold_all_so_far(post):
    whole = post("/generate", {"text": "hi", "return_logprob": True}).json()
    stream = events(post("/generate", {"text": "hi", "return_logprob": True, "stream": True}))
    assert [one["text"] for one in stream] == ["Hel", "Hello ", "Hello wor", TEXT]
    assert [one["meta_info"]["completion_tokens"] for one in stream] == [3, 6, 9, 11]
    assert [one["meta_info"]["finish_reason"] for one in stream[:-1]] == [None] * 3
    last = stream[-1]
    last["meta_info"]["id"] = whole["meta_info"]["id"]
    assert last == whole


def test_incremental_events_add_up(post):
    ask = {"text": ["hi", "ho"], "stream": True, "incremental": True, "return_logprob": True}
    stream = events(post("/generate", {**ask, "logprob_start_len": 0, "sampling_params": {"n": 2}}))
    for number in range(4):
        mine = [one for one in stream if one["index"] == number]
        assert "".join(one["text"] for one in mine) == TEXT
        assert [token for one in mine for token in one["output_ids"]] == IDS
        assert mine[-1]["meta_info"]["completion_tokens"] == 11
        assert [len(one["meta_info"]["input_token_logprobs"]) for one in mine] == [2, 0, 0, 0]


def test_either_engines_names(post, engine):
    params = {"max_new_tokens": 3, "min_new_tokens": 1, "sampling_seed": 5, "no_stop_trim": True, "top_k": -1}
    post("/generate", {"text": "x", "sampling_params": params, "priority": 4, "tenant": "t"})
    _, asked, options = engine.asked[-1]
    assert (asked["max_tokens"], asked["min_tokens"], asked["seed"], asked["top_k"]) == (3, 1, 5, 0)
    assert asked["include_stop_str_in_output"] is True
    assert (options.priority, options.tenant) == (4, "t")
    post("/generate", {"text": "x"})
    assert engine.asked[-1][1]["max_tokens"] == 128


def test_answers_can_be_bound(post, engine):
    post("/generate", {"text": "x", "sampling_params": {"regex": "[ab]+"}})
    bound = engine.asked[-1][1]["structured_outputs"]
    assert (bound.kind, bound.text) == ("regex", "[ab]+")
    post("/generate", {"text": "x", "sampling_params": {"json_schema": '{"type": "object"}'}})
    assert engine.asked[-1][1]["structured_outputs"].kind == "json_schema"
    both = {"regex": "a", "ebnf": 'root ::= "a"'}
    error(post("/generate", {"text": "x", "sampling_params": both}), 400, "ebnf")


def test_refusals(post):
    error(post("/generate", {}), 400, "text")
    error(post("/generate", {"text": "x", "input_ids": [1]}), 400, "text")
    error(post("/generate", {"text": "x", "sampling_params": [{}, {}]}), 400, "sampling_params")
    error(post("/generate", {"text": "x", "sampling_params": {"max_new_tokens": 0}}), 400, "max_tokens")
    error(post("/generate", {"text": "x", "model": "other"}), 404, "model")
    error(post("/inference/v1/generate", {"token_ids": [], "sampling_params": {}}), 400, "token_ids")
    error(post("/inference/v1/generate", {"token_ids": [1]}), 400, "sampling_params")


def test_tokens_in_tokens_out(post):
    ask = {"token_ids": [97, 98], "sampling_params": {"max_tokens": 4, "logprobs": 1, "prompt_logprobs": 0}}
    reply = post("/inference/v1/generate", {**ask, "request_id": "mine"}).json()
    (choice,) = reply["choices"]
    assert choice["token_ids"] == IDS[:4] and choice["finish_reason"] == "length"
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == list("Hell")
    assert reply["request_id"].endswith("mine") and reply["prompt_logprobs"][0] is None
    assert reply["prompt_logprobs"][1]["98"]["logprob"] == -0.5
    stream = events(
        post("/inference/v1/generate", {**ask, "stream": True, "stream_options": {"include_usage": True}})
    )
    assert [token for one in stream[:-1] for token in one["choices"][0]["token_ids"]] == IDS[:4]
    assert [("prompt_logprobs" in one) for one in stream] == [True, False, False]
    assert stream[-1]["choices"] == [] and stream[-1]["usage"]["prompt_tokens"] == 2
