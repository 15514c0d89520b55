"""Token ids -> text, one token at a time, such that the pieces add up to the whole.

Neither variant looks at more than a bounded number of earlier tokens, so a token costs O(1) amortised.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.models.codec import TokenCodec

REPLACEMENT = "\ufffd"


class Detokenizer(Protocol):
    """State of one completion. ``"".join(push(...)) + flush()`` is the completion's text."""

    def push(self, token_id: int) -> str:
        """Take the next token; return the characters that are now certain (maybe none)."""
        ...

    def flush(self) -> str:
        """Return what was held back: an unfinished character shows as U+FFFD. Call once, at the end."""
        ...


class ByteDetokenizer:
    """For tokenizers with a `TokenCodec`: an incremental UTF-8 decoder over the tokens' bytes.

    Bytes that are no UTF-8 become U+FFFD as the Unicode standard recommends (one per maximal subpart).
    Tokenizers with ``<0xNN>`` fallback tokens would themselves turn a whole run of such tokens to U+FFFD
    once one byte in it is wrong; whole characters of the run have been streamed by then, and are kept.

    Args:
        codec: bytes of single tokens.
        skip: ids that add nothing (special tokens).
    """

    def __init__(self, codec: TokenCodec, skip: frozenset[int]) -> None:
        self._codec = codec
        self._skip = skip
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_head = codec.head != "keep"

    def push(self, token_id: int) -> str:
        """See `Detokenizer.push`."""
        if token_id in self._skip:
            return ""
        if not self._at_head:
            return self._utf8.decode(self._codec.token_bytes(token_id))
        raw = self._codec.head_bytes(token_id)
        self._at_head = not self._codec.token_bytes(token_id)
        return self._utf8.decode(raw)

    def flush(self) -> str:
        """See `Detokenizer.flush`."""
        return self._utf8.decode(b"", True)


class WindowDetokenizer:
    """For any tokenizer: decode a short window of tokens with and without the newest, and take the rest.

    The window starts at a token whose text was already final, so that rules about neighbours (joining,
    leading spaces) see the same left context in both decodings. Text that ends in U+FFFD may be an
    unfinished character and waits, for ``patience`` tokens at most.

    Args:
        decode: ids -> text.
        skip: ids that add nothing; they are kept out of the window.
        patience: a UTF-8 character has four bytes, a token at least one.
    """

    def __init__(
        self, decode: Callable[[Sequence[int]], str], skip: frozenset[int], patience: int = 4
    ) -> None:
        self._decode = decode
        self._skip = skip
        self._patience = patience
        self._window: list[int] = []
        self._final = 0
        """Tokens of the window whose text went out."""
        self._sent = ""
        """Text of those tokens, decoded alone."""

    def push(self, token_id: int) -> str:
        """See `Detokenizer.push`."""
        if token_id in self._skip:
            return ""
        self._window.append(token_id)
        text = self._decode(self._window)
        waiting = len(self._window) - self._final
        unsure = len(text) <= len(self._sent) or text.endswith(REPLACEMENT)
        if unsure and waiting < self._patience:
            return ""
        return self._advance(text)

    def flush(self) -> str:
        """See `Detokenizer.flush`."""
        return self._advance(self._decode(self._window)) if self._window else ""

    def _advance(self, text: str) -> str:
        delta = text[len(self._sent) :]
        self._window = self._window[self._final :]
        self._final = len(self._window)
        self._sent = self._decode(self._window)
        return delta
