"""What rounding on load costs the bundled model: the ratio of perplexities of answers that it never saw."""

import random

import pytest
import torch
from transformers import AutoTokenizer

from penstock.kernels.native.library import why_missing
from penstock.models.load import load_model
from penstock.zoo import bundled_model_path
from penstock.zoo.data.mixture import CHAT_WEIGHTS, conversation
from penstock.zoo.tokenizer import encode_conversation
from tests.models.paged import Paged


@pytest.fixture(scope="module")
def texts():
    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    rng = random.Random(11)
    talks = [conversation(rng, "test", CHAT_WEIGHTS, 4) for _ in range(16)]
    coded = [encode_conversation(tokenizer, talk.messages, talk.tools) for talk in talks]
    return [(torch.tensor(ids), torch.tensor(mine)) for ids, mine in coded]


def _nll(texts, **options):
    """Return the mean loss, in nats, of a token of the answers: the model learnt nothing else."""
    decoder = load_model(str(bundled_model_path()), **options)
    losses = [
        torch.nn.functional.cross_entropy(Paged(decoder, [ids]).run(0)[:-1], ids[1:], reduction="none")[
            mine[1:]
        ]
        for ids, mine in texts
    ]
    return float(torch.cat(losses).mean())


@pytest.fixture(scope="module")
def plain(texts):
    return _nll(texts)


@pytest.mark.parametrize("kernels", ["torch", "native"])
@pytest.mark.parametrize(("quantization", "most"), [("int8", 1.005), ("int4", 1.02)])
def test_rounding_costs_little(texts, plain, kernels, quantization, most):
    if kernels == "native" and (reason := why_missing()):
        pytest.skip(reason)
    assert sum(int(mine.sum()) for _, mine in texts) > 800 and plain < 1.0
    ratio = 2.718281828 ** (_nll(texts, kernels=kernels, quantization=quantization) - plain)
    assert 0.995 < ratio < most, ratio
