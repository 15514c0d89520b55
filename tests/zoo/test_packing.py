"""Batches: a function of seed and step, whole documents, weights where decisions fall."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoTokenizer

from penstock.zoo import bundled_model_path
from penstock.zoo.packing import make_batch, pack, token_weights
from penstock.zoo.recipes import CHAT, Stage

TOKENIZER = AutoTokenizer.from_pretrained(bundled_model_path())
STAGE = Stage(2, 512, 1, 1e-3, 1e-3, {"recall": 1.0, "yesno": 1.0, "tools": 0.2})


def test_batches_are_a_function_of_seed_and_step() -> None:
    first, again = (make_batch(TOKENIZER, CHAT, STAGE, 3) for _ in range(2))
    other = make_batch(TOKENIZER, replace(CHAT, seed=2), STAGE, 3)
    assert torch.equal(first.ids_N, again.ids_N)
    assert not torch.equal(first.ids_N, other.ids_N)
    assert first.ids_N.shape == first.weight_N.shape == first.position_N.shape == (1024,)


def test_documents_start_where_they_say_and_end_with_an_answer() -> None:
    for step in range(6):
        batch = make_batch(TOKENIZER, CHAT, STAGE, step)
        starts = [start for start in batch.starts_D.tolist() if start < 1024]
        heads = batch.ids_N[starts].tolist()
        assert set(heads[:-1]) == {TOKENIZER.bos_token_id}
        assert (batch.position_N[starts] == 0).all() and (batch.weight_N[starts] == 0).all()
        ends = [start - 1 for start in starts[1:-1]]
        assert (batch.ids_N[ends] == TOKENIZER.eos_token_id).all()


def test_what_is_not_the_assistants_weighs_nothing_unless_asked_for() -> None:
    batch = make_batch(TOKENIZER, CHAT, STAGE, 0)
    assert 0.02 < float((batch.weight_N > 0).float().mean()) < 0.6
    taught = make_batch(TOKENIZER, replace(CHAT, prompt_share=1.0, prompt_weight=0.1), STAGE, 0)
    assert float((taught.weight_N > 0).float().mean()) > 0.9


def test_packing_pads_and_refuses_too_much() -> None:
    batch = pack([([1, 5, 6], [0.0, 1.0, 1.0]), ([1, 7], [0.0, 1.0])], 8)
    assert batch.ids_N.tolist() == [1, 5, 6, 1, 7, 0, 0, 0]
    assert batch.position_N.tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    assert batch.starts_D.tolist()[:2] == [0, 3] and batch.starts_D[2] == 5
    with pytest.raises(ValueError, match="5 tokens do not fit into 4"):
        pack([([1] * 5, [0.0] * 5)], 4)


def test_decisions_weigh_more_than_what_follows_from_them() -> None:
    short = token_weights([False] * 3 + [True] * 6 + [False] * 2, 0.1)
    assert short[:3] == [0.0, 0.1, 0.1] and short[-2:] == [0.1, 0.1]
    first, second, third, *last = short[3:9]
    assert last == [first] * 3 and first > second == third > 0.1
    long = token_weights([False] * 3 + [True] * 100, 0.1)
    assert long[50] < second and long[3] < first
    two = token_weights([False, True, True, True, True, True, False, True], 0.1)
    assert two[1] > two[2] and two[6] == 0.1 and two[7] > 1
