"""What rounding on load costs the bundled model: the ratio of perplexities on conversations it never saw."""

import random

import pytest
import torch
from transformers import AutoTokenizer

from penstock.kernels.native.library import why_missing
from penstock.models.load import load_model
from penstock.zoo import bundled_model_path
from penstock.zoo.data.mixture import CHAT_WEIGHTS, conversation
from tests.models.paged import Paged


@pytest.fixture(scope="module")
def texts():
    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    rng = random.Random(11)
    talks = [conversation(rng, "test", CHAT_WEIGHTS, 4).messages for _ in range(16)]
    return [
        torch.tensor(tokenizer.apply_chat_template(talk, return_dict=False, add_generation_prompt=False))
        for talk in talks
    ]


def _nll(texts, **options):
    """Return the mean loss of a token, in nats."""
    decoder = load_model(str(bundled_model_path()), **options)
    loss = sum(
        torch.nn.functional.cross_entropy(Paged(decoder, [text]).run(0)[:-1], text[1:], reduction="sum")
        for text in texts
    )
    return float(loss) / sum(len(text) - 1 for text in texts)


@pytest.fixture(scope="module")
def plain(texts):
    return _nll(texts)


@pytest.mark.parametrize("kernels", ["torch", "native"])
@pytest.mark.parametrize(("quantization", "most"), [("int8", 1.005), ("int4", 1.02)])
def test_rounding_costs_little(texts, plain, kernels, quantization, most):
    if kernels == "native" and (reason := why_missing()):
        pytest.skip(reason)
    assert sum(map(len, texts)) > 1500 and plain < 2.0
    ratio = 2.718281828 ** (_nll(texts, kernels=kernels, quantization=quantization) - plain)
    assert 0.995 < ratio < most, ratio
