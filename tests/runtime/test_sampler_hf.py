"""The definitions are those of transformers' own logits processors."""

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from penstock.core.plan import SlotInit
from penstock.core.request import SamplingParams
from penstock.runtime.sampler.adjust import adjust
from penstock.runtime.slots import SlotTable
from tests.runtime import oracle

VOCAB = 50


def logits(seed):
    return torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize(
    "limits",
    [{"top_k": 7}, {"top_p": 0.6}, {"min_p": 0.1}, {"top_k": 20, "top_p": 0.8, "min_p": 0.05}],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_kept_tokens(limits, temperature):
    """Of the naive sampler, which the real one is held to."""
    warpers = [TemperatureLogitsWarper(temperature)]
    warpers += [TopKLogitsWarper(limits["top_k"])] if "top_k" in limits else []
    warpers += [TopPLogitsWarper(limits["top_p"])] if "top_p" in limits else []
    warpers += [MinPLogitsWarper(limits["min_p"])] if "min_p" in limits else []
    for seed in range(20):
        want = logits(seed)
        for warper in warpers:
            want = warper(None, want)
        kept, _ = oracle.kept(logits(seed)[0].numpy(), SamplingParams(temperature=temperature, **limits))
        assert kept == torch.nonzero(torch.isfinite(want[0]))[:, 0].tolist()


def test_repetition_penalty_and_bad_words():
    text, words = (4, 9, 9, 30, 4, 7), ((7, 12), (4, 7, 13), (5,), (9, 1))
    table = SlotTable(1, 16, 4, 4, VOCAB)
    table.admit(SlotInit(0, "r", text, 3, SamplingParams(repetition_penalty=1.7, bad_words=words), ()))
    ids = torch.tensor([text])
    for seed in range(5):
        want = RepetitionPenaltyLogitsProcessor(1.7)(ids, logits(seed))
        want = NoBadWordsLogitsProcessor([list(word) for word in words], eos_token_id=[])(ids, want)
        got = logits(seed)
        adjust(got, np.array([0]), np.array([len(text)]), table)
        torch.testing.assert_close(got, want)
        assert torch.nonzero(torch.isinf(got[0]))[:, 0].tolist() == [5, 12, 13]
