"""Bytes of every token, from a tokenizer's folder."""

import pytest

from penstock.runtime.grammar.protocol import GrammarError
from penstock.runtime.grammar.vocabulary import read_vocabulary
from penstock.zoo import bundled_model_path
from tests.frontend.tokenizers_for_tests import byte_level, llama_style, word_piece


def test_the_bundled_tokenizer_padded():
    found = read_vocabulary(str(bundled_model_path()), "", 3200, (2,))
    assert found.size == 3200
    assert found.tokens[3100] == b""
    assert found.tokens[2] == b""
    assert found.stop_ids == (2,)
    assert {bytes((i,)) for i in range(256)} <= {*found.tokens}
    end = next(i for i, text in found.specials.items() if text == b"<|end|>")
    assert end == 2
    user = next(i for i, text in found.specials.items() if text == b"<|user|>")
    assert found.named_in("x <|user|> <|end|>") == {user}, "an end of sequence is not text"
    assert found.showing(frozenset({user}))[user] == b"<|user|>"


@pytest.mark.parametrize("make", [byte_level, llama_style])
def test_tokens_join_to_the_text(make, tmp_path):
    backend = make()
    backend.save(str(tmp_path / "tokenizer.json"))
    found = read_vocabulary(str(tmp_path), "", backend.get_vocab_size() + 7, ())
    ids = backend.encode("hello world 日本", add_special_tokens=False).ids
    assert b"".join(found.tokens[i] for i in ids).strip() == "hello world 日本".encode()


def test_the_tokenizers_own_stop_counts_where_the_model_names_none(tmp_path):
    backend = byte_level()
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "</s>"}}')
    assert read_vocabulary(str(tmp_path), "", 400, ()).stop_ids == (backend.token_to_id("</s>"),)
    assert read_vocabulary(str(tmp_path), "", 400, (1,)).stop_ids == (1,)


def test_tokens_that_are_no_bytes_are_refused(tmp_path):
    word_piece().save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(GrammarError, match="bytes"):
        read_vocabulary(str(tmp_path), "", 400, ())
