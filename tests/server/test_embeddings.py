"""``/v1/embeddings`` in front of a real engine on a tiny model, by raw HTTP and by the openai client."""

import base64
import concurrent.futures

import httpx
import numpy as np
import openai
import pytest

from penstock.frontend.llm import LLM
from tests.server import tiny
from tests.server.live import serving
from tests.server.test_bad_input import error
from tests.server.test_end_to_end import HI, tiny_config

TEXTS = ["hello", "a rather longer text " * 6, "x"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def url(folder):
    with serving(None, tiny_config(folder)) as (port, _, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def post(url):
    return lambda **body: httpx.post(f"{url}/v1/embeddings", json=body, timeout=30)


@pytest.fixture(scope="module")
def offline(folder):
    with LLM(folder, dtype="float32") as llm:
        return llm.embed(TEXTS), llm.embed(TEXTS, pooling="last", normalize=False)


def test_the_openai_client_reads_both_encodings(url, offline):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    for encoding in ({}, {"encoding_format": "float"}, {"encoding_format": "base64"}):  # {} asks for base64
        answer = client.embeddings.create(model="tiny", input=TEXTS, **encoding)
        assert [one.index for one in answer.data] == [0, 1, 2] and answer.model == "tiny"
        assert answer.usage.prompt_tokens == sum(len(text) for text in TEXTS) == answer.usage.total_tokens
        for one, want in zip(answer.data, offline[0], strict=True):
            have = one.embedding
            if isinstance(have, str):
                have = np.frombuffer(base64.b64decode(have), "<f4")
            np.testing.assert_allclose(have, want, atol=1e-5)


def test_extras(post, offline):
    (one,) = post(input=TEXTS[1], pooling="last", normalize=False).json()["data"]
    np.testing.assert_allclose(one["embedding"], offline[1][1], atol=1e-5)
    (short,) = post(input=TEXTS[1], dimensions=4).json()["data"]
    assert len(short["embedding"]) == 4 and np.linalg.norm(short["embedding"]) == pytest.approx(1)
    ids = [ord(c) - 31 for c in "hello"]
    same = post(input=[ids, ids]).json()["data"]
    assert same[0]["embedding"] == same[1]["embedding"]
    cut = post(input="much too long " * 100, truncate_prompt_tokens=50)
    assert cut.json()["usage"]["prompt_tokens"] == 50


@pytest.mark.parametrize(
    ("body", "param", "says"),
    [
        ({}, "input", "required"),
        ({"input": ""}, "input", "at least one token"),
        ({"input": []}, "input", "at least 1"),
        ({"input": "x", "dimensions": 33}, "dimensions", "at most 32"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "x", "pooling": "max"}, "pooling", "'mean' or 'last'"),
        ({"input": "x " * 500}, "input", "at most 255"),
        ({"input": [[1, 99999]]}, "input[1]", "token id"),
        ({"input": "x", "model": "gpt-9"}, "model", "does not exist"),
    ],
)
def test_bad_input(post, body, param, says):
    response = post(**body)
    assert says in error(response, 404 if param == "model" else 400, param)["message"]


def test_embeddings_and_chats_run_side_by_side(url, offline):
    def chat():
        body = {"messages": HI, "max_tokens": 40, "ignore_eos": True}
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["usage"]

    def embed():
        return httpx.post(f"{url}/v1/embeddings", json={"input": TEXTS}, timeout=60).json()["data"]

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        chats = [pool.submit(chat) for _ in range(6)]
        found = [pool.submit(embed) for _ in range(6)]
        assert all(job.result()["completion_tokens"] == 40 for job in chats)
        for job in found:
            for one, want in zip(job.result(), offline[0], strict=True):
                np.testing.assert_allclose(one["embedding"], want, atol=1e-5)
