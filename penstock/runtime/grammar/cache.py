"""Compiled grammars that are kept: as many as fit a bound, and those in use whatever they take."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from weakref import WeakValueDictionary

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.protocol import Grammar

Key = tuple[str, bytes, bool]
MAX_REFUSALS = 256


def key_of(spec: GrammarSpec) -> Key:
    """Return what makes two grammars the same."""
    return (
        spec.kind,
        hashlib.blake2b(spec.text.encode("utf-8", "surrogatepass"), digest_size=16).digest(),
        spec.strict,
    )


class GrammarCache:
    """Least recently used out first. Safe to use from several threads.

    Args:
        most_bytes: what the kept grammars may take together.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Key, Grammar] = OrderedDict()
        self._alive: WeakValueDictionary[Key, Grammar] = WeakValueDictionary()
        self._refused: OrderedDict[Key, str] = OrderedDict()
        self._lock = threading.Lock()
        self.nbytes = 0

    def get(self, spec: GrammarSpec) -> Grammar | None:
        """Return the grammar if it is kept, or in use by anybody."""
        key = key_of(spec)
        with self._lock:
            found = self._alive.get(key)
            if found is not None and key in self._kept:
                self._kept.move_to_end(key)
            return found

    def refusal(self, spec: GrammarSpec) -> str | None:
        """Return why the grammar was refused, if it was lately."""
        with self._lock:
            return self._refused.get(key_of(spec))

    def put(self, spec: GrammarSpec, grammar: Grammar) -> None:
        """Keep a grammar, and let others go for it; one that is larger than the bound is not kept."""
        key = key_of(spec)
        with self._lock:
            self._alive[key] = grammar
            replaced = self._kept.pop(key, None)
            self.nbytes -= replaced.nbytes if replaced is not None else 0
            self._kept[key] = grammar
            self.nbytes += grammar.nbytes
            while self.nbytes > self._most:
                _, gone = self._kept.popitem(last=False)
                self.nbytes -= gone.nbytes

    def refuse(self, spec: GrammarSpec, why: str) -> None:
        """Remember that a grammar cannot be used, so that it is not tried again and again."""
        with self._lock:
            self._refused[key_of(spec)] = why
            while len(self._refused) > MAX_REFUSALS:
                self._refused.popitem(last=False)
