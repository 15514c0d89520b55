"""The tokenizer that ships: round trips, control tokens, and the chat template."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from penstock.zoo import bundled_model_path
from penstock.zoo.data import conversation
from penstock.zoo.tokenizer import SPECIALS, encode_conversation

TOKENIZER = AutoTokenizer.from_pretrained(bundled_model_path())


@settings(max_examples=200, deadline=None)
@given(st.text().filter(lambda text: "<|" not in text))
def test_any_text_survives_the_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False)) == text


def test_control_tokens_have_their_ids() -> None:
    assert TOKENIZER.convert_tokens_to_ids(SPECIALS) == list(range(len(SPECIALS)))
    assert (TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id) == (0, 1, 2)


def test_digits_are_tokens_of_their_own() -> None:
    assert len(TOKENIZER.encode("20481", add_special_tokens=False)) == 5


def test_plain_text_begins_with_bos_once() -> None:
    assert TOKENIZER("hello").input_ids[0] == TOKENIZER.bos_token_id
    rendered = TOKENIZER.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert rendered == "<|bos|><|user|>hi<|end|>"


def test_training_text_is_exactly_the_chat_template() -> None:
    rng = random.Random(2)
    for _ in range(100):
        messages = conversation(rng).messages
        ids, mine = encode_conversation(TOKENIZER, messages)
        template = TOKENIZER.apply_chat_template(messages, tokenize=True, return_dict=False)
        assert ids == list(template)
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        learnt = TOKENIZER.decode([token for token, own in zip(ids, mine, strict=True) if own])
        assert learnt == "".join(answer + "<|end|>" for answer in answers)


def test_the_template_takes_content_parts_and_refuses_unknown_roles() -> None:
    parts = [{"role": "user", "content": [{"type": "text", "text": "hi "}, {"type": "text", "text": "you"}]}]
    text = TOKENIZER.apply_chat_template(parts, tokenize=False, add_generation_prompt=True)
    assert text == "<|bos|><|user|>hiyou<|end|><|assistant|>"
    with pytest.raises(Exception, match="unknown role: robot"):
        TOKENIZER.apply_chat_template([{"role": "robot", "content": "hi"}], tokenize=False)
