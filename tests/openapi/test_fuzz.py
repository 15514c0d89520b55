"""Bodies bent out of shape, through the real server to a real engine: refused with a reason or answered, and
the engine works on as if nothing had been."""

import copy
import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.openapi.conftest import EXAMPLES, examples

HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
SEEDS = {
    "/v1/chat/completions": [
        {"messages": HI, "max_tokens": 3, "temperature": 0.5, "stop": ["x"], "logit_bias": {"40": 2}},
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            "n": 2,
            "max_tokens": 2,
        },
        {"messages": HI, "max_tokens": 4, "tools": [TOOL], "tool_choice": "auto"},
        {"messages": HI, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 3},
        {
            "messages": HI,
            "max_tokens": 4,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
        },
    ],
    "/v1/completions": [
        {"prompt": ["a", "b"], "max_tokens": 2, "logprobs": 2, "echo": True, "seed": 1},
        {"prompt": [3, 4], "max_tokens": 3, "min_p": 0.1, "top_k": 4, "bad_words": ["no"], "min_tokens": 1},
        {"prompt": "a", "max_tokens": 3, "slo": {"ttft_ms": 9.0}, "program": "p", "turn": {"index": 1}},
    ],
    "/generate": [
        {"text": "a", "sampling_params": {"regex": "[a-c]{2,3}", "max_new_tokens": 4}, "stream": True},
        {"text": "a", "sampling_params": {"max_new_tokens": 3, "temperature": 0}, "return_logprob": True},
        {"input_ids": [[3], [4, 5]], "sampling_params": [{"max_new_tokens": 2}, {"n": 2, "max_tokens": 2}]},
    ],
    "/inference/v1/generate": [{"token_ids": [3, 4], "sampling_params": {"max_tokens": 3, "logprobs": 1}}],
    "/v1/embeddings": [{"input": ["a", "b"], "dimensions": 4, "encoding_format": "base64"}],
    "/v1/responses": [
        {"input": "a", "max_output_tokens": 3, "instructions": "b"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}], "stream": True},
    ],
    "/v1/messages": [
        {"messages": HI, "max_tokens": 3, "model": "tiny", "system": "s", "stop_sequences": ["x"]},
        {"messages": HI, "max_tokens": 3, "model": "tiny", "stream": True, "metadata": {"user_id": "u"}},
    ],
    "/v1/messages/count_tokens": [{"messages": HI, "model": "tiny"}],
    "/tokenize": [{"prompt": "a"}, {"messages": HI, "add_generation_prompt": True}],
    "/detokenize": [{"tokens": [3, 4]}],
}

texts = st.text(max_size=12) | st.sampled_from(
    [
        "",
        "\x00",
        "\u202e",
        "\U0001f600" * 9,
        "</s>",
        "{{ 7*7 }}",
        "{% raw %}",
        "a" * 4000,
        "<|assistant|>",
        "user",
    ]
)
numbers = st.one_of(
    st.sampled_from([0, -1, 1, 2, 127, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**30]),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e308, 0.1, -2.5, 1e30]),
    st.integers(-5, 300),
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Yield the path of every value in a JSON document but itself."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*path, key)
        yield from places(one, (*path, key))


def bend(body, path, how, what):
    """Change a document at one place: replace, drop, repeat or wrap."""
    *way, last = path
    holder = body
    for key in way:
        holder = holder[key]
    if how == "drop":
        del holder[last]
    elif how == "repeat":
        holder[last] = [holder[last]] * 5
    elif how == "wrap":
        holder[last] = {str(what)[:9]: holder[last]}
    else:
        holder[last] = what


@st.composite
def bodies(draw, path, fields):
    body = copy.deepcopy(draw(st.sampled_from(SEEDS[path])))
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            body[draw(st.sampled_from(fields))] = draw(values)
        elif where := list(places(body)):
            how = draw(st.sampled_from(["replace", "replace", "drop", "repeat", "wrap"]))
            bend(body, draw(st.sampled_from(where)), how, draw(values))
    return body


@st.composite
def raws(draw, path, fields):
    """Bytes that are almost a body: cut, doubled, with what JSON encoders never write."""
    raw = json.dumps(draw(bodies(path, fields)), ensure_ascii=draw(st.booleans())).encode()
    kind = draw(st.sampled_from(["cut", "byte", "surrogate", "nan", "deep", "twice", "utf16", "bom"]))
    at = draw(st.integers(0, len(raw)))
    return {
        "cut": raw[:at],
        "byte": raw[:at] + draw(st.binary(min_size=1, max_size=3)) + raw[at + 1 :],
        "surrogate": raw.replace(b'"a"', rb'"\ud800"').replace(b'"hi"', rb'"\udfff\ud800"'),
        "nan": raw.replace(b": 3", b": NaN").replace(b": 2", b": -Infinity").replace(b": 1", b": 1e999"),
        "deep": b'{"messages": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        "twice": raw + raw,
        "utf16": raw.decode().encode("utf-16"),
        "bom": b"\xef\xbb\xbf" + raw,
    }[kind]


@pytest.fixture(scope="module")
def client(url):
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def fields(client):
    """Names of the fields of each endpoint's body, from the description."""
    said = client.get("/openapi.json").json()
    schemas = said["components"]["schemas"]

    def names(schema):
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rsplit("/", 1)[1]]
        inner = schema.get("anyOf", []) + schema.get("oneOf", [])
        return sorted({*schema.get("properties", {}), *(name for one in inner for name in names(one))})

    return {
        path: names(said["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])
        for path in SEEDS
    }


def normal(client):
    body = {"prompt": "ab", "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    reply = client.post("/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()["choices"][0]["text"]


def judge(client, path, raw):
    reply = client.post(path, content=raw, headers={"Content-Type": "application/json"})
    own_time = b"timeout_ms" in raw or b"deadline_ms" in raw
    assert reply.status_code < 500 or (own_time and reply.status_code == 504), reply.text[:1000]
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert isinstance(error["message"], str) and error["message"] and isinstance(error["type"], str)
        if not path.startswith("/v1/messages"):
            assert set(error) == {"message", "type", "param", "code"}
    elif reply.headers["content-type"].startswith("text/event-stream"):
        for line in reply.text.splitlines():
            if line.startswith("data: {"):
                failed = json.loads(line.removeprefix("data: ")).get("error")
                assert not failed or failed.get("type") != "server_error" or own_time, line[:1000]
    assert client.get("/health").status_code == 200


common = settings(
    deadline=None, derandomize=not EXAMPLES, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("path", SEEDS)
def test_bent_bodies(client, fields, path):
    before = normal(client)

    @settings(common, max_examples=examples(25))
    @given(bodies(path, fields[path]))
    def run(body):
        judge(client, path, json.dumps(body).encode())

    run()
    assert normal(client) == before


@pytest.mark.parametrize("path", SEEDS)
def test_broken_bytes(client, fields, path):
    before = normal(client)

    @settings(common, max_examples=examples(10))
    @given(raws(path, fields[path]))
    def run(raw):
        judge(client, path, raw)

    run()
    assert normal(client) == before


def test_an_answer_that_cannot_be_is_the_requests_fault(client):
    reply = client.post("/v1/completions", json={"prompt": "a", "regex": "b", "bad_words": ["b"]})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "unsatisfiable"


def test_the_seeds_are_sound(client):
    """Otherwise nothing above would ever come past the first check."""
    for path, seeds in SEEDS.items():
        for seed in seeds:
            reply = client.post(path, json=seed)
            assert reply.status_code == 200, (path, seed, reply.text)
