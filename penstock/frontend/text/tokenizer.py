"""`Tokenizer`: what the front needs of a model's tokenizer, and clear words when it cannot be loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from penstock.core.errors import ConfigError, InvalidRequest
from penstock.frontend.prompts import Chat
from penstock.frontend.text.chat import read_template, render, template_source
from penstock.frontend.text.detokenizer import ByteDetokenizer, Detokenizer, WindowDetokenizer
from penstock.models.codec import TokenCodec, find_codec

_GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")
"""Tokenizer classes that are nothing but their ``tokenizer.json``."""


class Tokenizer:
    """A transformers tokenizer and, when it is a fast one, the ``tokenizers.Tokenizer`` inside it.

    Decoding never "cleans up" spaces: the text is exactly what the tokens say.

    Args:
        inner: the transformers tokenizer.
        chat_template: Jinja text that replaces the tokenizer's own template.
    """

    def __init__(self, inner: Any, chat_template: str | None = None) -> None:
        self.inner = inner
        self.chat_template = chat_template
        self._hidden_ids: dict[tuple[str, ...], frozenset[int]] = {}
        self._backend = getattr(inner, "backend_tokenizer", None)
        if self._backend is not None:
            # Limits saved with a tokenizer are for training; requests are measured against the context.
            self._backend.no_truncation()
            self._backend.no_padding()

    @classmethod
    def load(cls, name: str, *, revision: str = "", chat_template: str = "") -> Tokenizer:
        """Load from a folder or from the hub.

        Args:
            name: folder or hub name.
            revision: branch, tag or commit on the hub.
            chat_template: path of a Jinja file that replaces the tokenizer's template.

        Raises:
            ConfigError: no such folder or model, no tokenizer in it, or an unreadable template file.
        """
        template = read_template(chat_template) if chat_template else None
        folder = os.path.isdir(name)
        if not folder and (os.path.isabs(name) or name.startswith(("./", "../", "~"))):
            raise ConfigError("model.tokenizer", f"expected an existing folder or a hub name, got {name!r}")
        try:
            inner = _load_inner(name, revision)
        except Exception as error:  # transformers raises many kinds; each means that it cannot be used
            where = "the folder" if folder else "the hub"
            first = str(error).strip().splitlines()[:1]
            raise ConfigError(
                "model.tokenizer",
                f"expected a tokenizer (tokenizer.json or tokenizer.model) at {name!r} in {where}: "
                f"{first[0] if first else type(error).__name__}",
            ) from error
        return cls(inner, template)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> tuple[int, ...]:
        """Return the token ids of a text."""
        if self._backend is not None:
            return tuple(self._backend.encode(text, add_special_tokens=add_special_tokens).ids)
        return tuple(self.inner.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, token_ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """Return the text of token ids; ids outside the vocabulary add nothing."""
        detokenizer = self.detokenizer(skip_special_tokens=skip_special_tokens)
        return "".join(detokenizer.push(token) for token in token_ids) + detokenizer.flush()

    def detokenizer(self, *, skip_special_tokens: bool = True, shown: Sequence[str] = ()) -> Detokenizer:
        """Return a fresh incremental detokeniser for one completion.

        Args:
            skip_special_tokens: leave control tokens out of the text.
            shown: control tokens to leave in all the same.
        """
        skip = self._hidden(tuple(shown)) if skip_special_tokens else frozenset()
        if self._codec is not None:
            return ByteDetokenizer(self._codec, skip)
        return WindowDetokenizer(self._decode_window, skip)

    def render_chat(self, chat: Chat) -> str:
        """Return the prompt text of a conversation. Raises InvalidRequest naming ``messages``."""
        return render(self.inner, chat, self.chat_template)

    def token_bytes(self, token_id: int) -> bytes:
        """Return the bytes that a token stands for inside a text."""
        if self._codec is not None:
            return self._codec.token_bytes(token_id)
        return self._decode_window([token_id]).encode()

    def token_text(self, token_id: int) -> str:
        """Return the text of a token alone; bytes that are no whole character show as U+FFFD."""
        return self.token_bytes(token_id).decode("utf-8", "replace")

    def bad_word_ids(self, words: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Return the token sequences that spell the words, at the start of a text and after a space.

        Raises:
            InvalidRequest: a word has no tokens.
        """
        found: dict[tuple[int, ...], None] = {}
        for index, word in enumerate(words):
            bare = word.strip()
            for spelling in (bare, " " + bare):
                ids = self.encode(spelling, add_special_tokens=False) if bare else ()
                if not ids:
                    raise InvalidRequest(f"bad_words[{index}]", f"expected a word, got {word!r}")
                found[ids] = None
        return tuple(found)

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids of special (control) tokens."""
        if self._backend is not None:
            added = self._backend.get_added_tokens_decoder()
            return frozenset(token_id for token_id, token in added.items() if token.special)
        return frozenset(self.inner.all_special_ids)

    @cached_property
    def size(self) -> int:
        """Highest token id + 1."""
        return len(self.inner)

    @cached_property
    def longest_token(self) -> int:
        """Characters of the longest token: a text of n tokens has at most n times as many."""
        return max((len(token) for token in self.inner.get_vocab()), default=1)

    @property
    def eos_id(self) -> int | None:
        """The tokenizer's own end-of-sequence id."""
        found: int | None = self.inner.eos_token_id
        return found

    @property
    def named_tokens(self) -> dict[str, str | None]:
        """The texts of the tokens that have a role: bos, eos, pad and unk; None for one that there is not."""
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        return {name: None if (text := getattr(self.inner, name)) is None else str(text) for name in names}

    @cached_property
    def template_text(self) -> str:
        """The source of the chat template, of all of them where there are several; empty without one."""
        return template_source(self.inner, self.chat_template)

    @property
    def has_chat_template(self) -> bool:
        """Whether conversations can be rendered."""
        return bool(self.chat_template or getattr(self.inner, "chat_template", None))

    def _hidden(self, shown: tuple[str, ...]) -> frozenset[int]:
        """Return the ids of control tokens less those of the given texts."""
        found = self._hidden_ids.get(shown)
        if found is None:
            found = frozenset(one for one in self.special_ids if self.token_text(one) not in shown)
            self._hidden_ids[shown] = found
        return found

    @cached_property
    def _codec(self) -> TokenCodec | None:
        return find_codec(self._backend) if self._backend is not None else None

    def _decode_window(self, token_ids: Sequence[int]) -> str:
        if self._backend is not None:
            return str(self._backend.decode(list(token_ids), skip_special_tokens=False))
        return str(
            self.inner.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )


def _load_inner(name: str, revision: str) -> Any:
    """Load with the class that the tokenizer names; without torch if that is a generic one."""
    settings = Path(name) / "tokenizer_config.json"
    if settings.is_file() and (Path(name) / "tokenizer.json").is_file():
        named = json.loads(settings.read_text(encoding="utf-8"))
        if named.get("tokenizer_class") in _GENERIC and "auto_map" not in named:
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(name)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, revision=revision or "main", trust_remote_code=False)
