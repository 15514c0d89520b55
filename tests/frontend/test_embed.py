"""Embeddings against transformers' hidden states, whatever the chunks, the cache and the preemptions."""

import numpy as np
import pytest
import torch
from real_engine import save_model

from penstock import LLM
from penstock.core.errors import InvalidRequest
from penstock.core.plan import Pooled
from penstock.frontend.pooling import Pool, shaped

TEXTS = ["hello world", "hello world again and again " * 5, "x", "a long common beginning " * 6 + "end"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model"))


def _oracle(folder, llm, pooling):
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    for text in TEXTS:
        ids = torch.tensor([llm.tokenizer.encode(text)])
        with torch.inference_mode():
            hidden_CE = model(ids).last_hidden_state[0]
        yield (hidden_CE.mean(0) if pooling == "mean" else hidden_CE[-1]).numpy()


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("chunk", [7, 512])
def test_equals_transformers(folder, pooling, chunk):
    with LLM(str(folder), dtype="float32", max_num_batched_tokens=chunk) as llm:
        want = list(_oracle(folder, llm, pooling))
        for _ in range(2):  # the second time over a warm prefix cache
            got = llm.embed(TEXTS, pooling=pooling, normalize=False)
            for have, should in zip(got, want, strict=True):
                np.testing.assert_allclose(have, should, atol=2e-5)
        assert llm.stats().running == 0


def test_survives_preemption(folder):
    """So few blocks that the long prompts cannot be held together with what is being generated."""
    with LLM(str(folder), dtype="float32", max_num_batched_tokens=7) as roomy:
        want = roomy.embed(TEXTS * 3)
        bytes_per_block = 2 * 2 * 2 * 8 * 4 * roomy.info.page_size
    with LLM(
        str(folder),
        dtype="float32",
        max_num_batched_tokens=7,
        preempt="newest",
        kv_cache_memory_bytes=10 * bytes_per_block,
    ) as tight:
        growing = [{"max_tokens": 100, "ignore_eos": True}] * 4
        mixed = tight.generate(["x"] * 4 + TEXTS * 3, growing + [{"pooling": "mean", "max_tokens": 1}] * 12)
        assert sum(output.outputs[0].preemptions for output in mixed[4:]) > 0
        for have, should in zip(mixed[4:], want, strict=True):
            np.testing.assert_allclose(shaped(have.embedding), should, atol=2e-5)


def test_length_one_and_fewer_dimensions(folder):
    with LLM(str(folder), dtype="float32") as llm:
        (whole,) = llm.embed("hello world")
        (cut,) = llm.embed("hello world", dimensions=8)
        assert whole.shape == (32,) and cut.shape == (8,)
        assert np.linalg.norm(whole) == pytest.approx(1) and np.linalg.norm(cut) == pytest.approx(1)
        np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
        with pytest.raises(InvalidRequest, match="pooling"):
            llm.embed("hello", pooling="max")


def test_sums_that_begin_anew_replace_what_was_there():
    def part(start, rows, value):
        return Pooled(start, rows, np.full(2, value * rows, "<f4").tobytes())

    pool = Pool()
    pool.push(part(0, 2, 1.0))
    pool.push(part(2, 2, 3.0))
    assert pool.mean() == (2.0, 2.0)
    pool.push(part(0, 3, 5.0))  # preempted, and now in other chunks
    pool.push(part(3, 1, 9.0))
    assert pool.mean() == (6.0, 6.0)
