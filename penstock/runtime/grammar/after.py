"""A grammar that binds only what follows a text, such as the end of the reasoning.

Until the text has been written everything is allowed, but for tokens that would write its end and go on with
more than blanks: what stands behind the text must be the grammar's, from its first byte on.

Legend: W words of a mask.
"""

from __future__ import annotations

import numpy as np

from penstock.runtime.grammar.protocol import Mask, Matcher


class Marker:
    """A text to wait for, over a vocabulary.

    Args:
        text: the text, not empty.
        tokens: bytes of every token, those of control tokens with them.
    """

    def __init__(self, text: bytes, tokens: tuple[bytes, ...]) -> None:
        self.text = text
        self.tokens = tokens
        self._fallback = _fallback(text)
        self._beyond: dict[int, list[int]] = {}

    def advance(self, matched: int, token: int) -> tuple[int, bytes | None]:
        """Go on by a token.

        Args:
            matched: leading bytes of the text that end what was written so far.
            token: the token.

        Returns:
            The new ``matched``; and when the text is complete, what the token wrote behind it.
        """
        raw = self.tokens[token] if 0 <= token < len(self.tokens) else b""
        for i, byte in enumerate(raw):
            while matched and self.text[matched] != byte:
                matched = self._fallback[matched]
            if self.text[matched] == byte:
                matched += 1
            if matched == len(self.text):
                return matched, raw[i + 1 :]
        return matched, None

    def beyond(self, matched: int) -> list[int]:
        """Return the tokens that would complete the text and go on with more than blanks."""
        found = self._beyond.get(matched)
        if found is None:
            rest, whole = self.text[matched:], self.text
            found = self._beyond[matched] = [
                token
                for token, raw in enumerate(self.tokens)
                if (len(raw) > len(rest) and (whole in raw or rest in raw))
                and (self.advance(matched, token)[1] or b"").strip()
            ]
        return found


def _fallback(text: bytes) -> list[int]:
    """Knuth-Morris-Pratt: longest proper prefix of ``text[:i]`` that is also its suffix."""
    table, k = [0, 0], 0
    for i in range(1, len(text)):
        while k and text[i] != text[k]:
            k = table[k]
        if text[i] == text[k]:
            k += 1
        table.append(k)
    return table


class AfterMatcher:
    """A matcher that sleeps until its marker has been written.

    Args:
        inner: the grammar's matcher, at its beginning.
        marker: what to wait for.
        stop_ids: end-of-sequence ids: nothing may end before the grammar has begun.
    """

    def __init__(self, inner: Matcher, marker: Marker, stop_ids: tuple[int, ...], matched: int = 0) -> None:
        self._inner, self._marker, self._stop_ids = inner, marker, stop_ids
        self._past: list[int] = [matched]
        """Bytes of the marker matched after each token while asleep."""
        self._accepted = 0
        """Tokens that the inner matcher has accepted."""

    @property
    def awake(self) -> bool:
        """Whether the marker has been written."""
        return self._past[-1] == len(self._marker.text)

    def fill(self, mask_W: Mask) -> None:
        """Write the mask."""
        if self.awake:
            self._inner.fill(mask_W)
            return
        mask_W[:] = -1
        banned = np.array([*self._marker.beyond(self._past[-1]), *self._stop_ids], np.int64)
        np.bitwise_and.at(mask_W, banned // 32, ~(np.int32(1) << (banned % 32).astype(np.int32)))

    def accept(self, token: int) -> bool:
        """Go on by a token."""
        if self.awake:
            accepted = self._inner.accept(token)
            self._accepted += accepted
            return accepted
        matched, rest = self._marker.advance(self._past[-1], token)
        if rest is not None and rest.strip():
            return False
        self._past.append(matched)
        return True

    def rollback(self, count: int) -> None:
        """Take tokens back."""
        inside = min(count, self._accepted)
        if inside:
            self._inner.rollback(inside)
            self._accepted -= inside
        if count > inside:
            del self._past[len(self._past) - (count - inside) :]

    def fork(self) -> AfterMatcher:
        """Return a copy."""
        copy = AfterMatcher(self._inner.fork(), self._marker, self._stop_ids)
        copy._past, copy._accepted = [*self._past], self._accepted
        return copy

    def is_terminated(self) -> bool:
        """Whether a stop id was accepted."""
        return self.awake and self._inner.is_terminated()

    def forced(self) -> bytes:
        """Return the forced text."""
        return self._inner.forced() if self.awake else b""
