"""The bytes of every token of a model, as grammars see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from penstock.models.codec import find_codec
from penstock.runtime.grammar.protocol import GrammarError


class Vocabulary(msgspec.Struct, frozen=True):
    """Token id -> bytes. Control tokens and ids without a token have none: no grammar reaches them."""

    tokens: tuple[bytes, ...]
    """As many as the model has logits."""
    specials: dict[int, bytes] = {}
    """Text of the control tokens, for grammars that name them."""
    stop_ids: tuple[int, ...] = ()
    """The model's end-of-sequence ids."""

    @property
    def size(self) -> int:
        """Width of the logits."""
        return len(self.tokens)

    def named_in(self, text: str) -> frozenset[int]:
        """Return the control tokens whose text occurs in a grammar's."""
        raw = text.encode()
        return frozenset(i for i, name in self.specials.items() if name in raw and i not in self.stop_ids)

    def showing(self, ids: frozenset[int]) -> tuple[bytes, ...]:
        """Return all tokens' bytes, those of the given control tokens with them."""
        if not ids:
            return self.tokens
        return tuple(self.specials[i] if i in ids else raw for i, raw in enumerate(self.tokens))


def read_vocabulary(name: str, revision: str, size: int, stop_ids: tuple[int, ...]) -> Vocabulary:
    """Read a tokenizer's vocabulary.

    Args:
        name: folder or hub name of the tokenizer.
        revision: branch, tag or commit on the hub.
        size: width of the model's logits; ids beyond the tokenizer's stand for nothing.
        stop_ids: the model's end-of-sequence ids; the tokenizer's own if it names none.

    Raises:
        GrammarError: the tokenizer's tokens do not stand for bytes.
    """
    backend = _load(name, revision)
    codec = None if backend is None else find_codec(backend)
    if codec is None:
        raise GrammarError("structured output needs a tokenizer whose tokens stand for bytes")
    stop_ids = stop_ids or _own_stop(name, backend)
    special = {i for i, token in backend.get_added_tokens_decoder().items() if token.special}
    known = backend.get_vocab_size(with_added_tokens=True)
    hidden = special | set(stop_ids)
    tokens = tuple(b"" if i >= known or i in hidden else codec.token_bytes(i) for i in range(size))
    names = {i: codec.token_bytes(i) for i in sorted(special) if i < size}
    return Vocabulary(tokens, names, tuple(i for i in stop_ids if 0 <= i < size))


def _own_stop(name: str, backend: Any) -> tuple[int, ...]:
    """The end-of-sequence id that a tokenizer folder names."""
    file = Path(name).expanduser() / "tokenizer_config.json"
    token = json.loads(file.read_text(encoding="utf-8")).get("eos_token") if file.is_file() else None
    text = token.get("content") if isinstance(token, dict) else token
    found = backend.token_to_id(text) if isinstance(text, str) else None
    return () if found is None else (found,)


def _load(name: str, revision: str) -> Any:
    """Return the ``tokenizers.Tokenizer`` of a folder or hub name, or None if there is none."""
    file = Path(name).expanduser() / "tokenizer.json"
    if file.is_file():
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(file))
    from transformers import AutoTokenizer

    inner = AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
    return getattr(inner, "backend_tokenizer", None)
