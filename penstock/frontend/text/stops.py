"""Stop strings over a stream of text: nothing that may belong to one is let out too early."""

from __future__ import annotations

from collections.abc import Sequence


class StopPattern:
    """A stop string with its failure table (Knuth, Morris, Pratt 1977); immutable, shared by completions."""

    __slots__ = ("fail", "text")

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("a stop string must not be empty")
        self.text = text
        self.fail = [0] * len(text)
        matched = 0
        for i in range(1, len(text)):
            matched = self.step(matched, text[i])
            self.fail[i] = matched

    def step(self, matched: int, char: str) -> int:
        """Return the length of the longest prefix that ends with ``char``, given that before it (< whole)."""
        while matched and self.text[matched] != char:
            matched = self.fail[matched - 1]
        return matched + (self.text[matched] == char)


class StopMatcher:
    """Follows one completion's text and finds the stop string that is complete first.

    If several are complete at the same character, the longest counts. The outcome does not depend on how
    the text is cut into pieces.

    Args:
        patterns: the stop strings.
        include: leave the stop string in the text.
    """

    def __init__(self, patterns: Sequence[StopPattern], include: bool = False) -> None:
        self._patterns = patterns
        self._include = include
        self._matched = [0] * len(patterns)
        self._held = ""
        self.found: str | None = None
        """The stop string that was found."""

    def push(self, text: str) -> str:
        """Take more text; return what can be let out. Nothing after a stop string was found."""
        if self.found is not None:
            return ""
        if not self._patterns:
            return text
        buffer = self._held + text
        for offset, char in enumerate(text, start=len(self._held) + 1):
            for i, pattern in enumerate(self._patterns):
                self._matched[i] = pattern.step(self._matched[i], char)
            done = [m for p, m in zip(self._patterns, self._matched, strict=True) if m == len(p.text)]
            if done:
                start = offset - max(done)
                self.found, self._held = buffer[start:offset], ""
                return buffer[: offset if self._include else start]
        keep = max(self._matched)
        self._held = buffer[len(buffer) - keep :] if keep else ""
        return buffer[: len(buffer) - keep]

    def flush(self) -> str:
        """Return the text held back; the completion ended without a stop string."""
        held, self._held = self._held, ""
        return held
