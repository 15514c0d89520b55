"""xgrammar: most of each mask is worked out at compile time (Dong et al., "XGrammar", MLSys 2025).

Compiled grammars cross from the compiling process as JSON, which the library writes and reads.

Two things are mended here (0.2.8). Strings with a length bound may hold control characters, which JSON
forbids: the grammar is written out, its string class narrowed, and read again (`_tighten`). And halves of
surrogate pairs pass as characters, which UTF-8 forbids: the bytes that would begin one are masked.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import torch
import xgrammar

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.protocol import GrammarError, Mask
from penstock.runtime.grammar.schema import check_schema
from penstock.runtime.grammar.vocabulary import Vocabulary

MAX_WHITESPACE = 24
"""Blanks between two parts of a JSON text: enough to indent, too few to fill an answer with."""

_SHORT_ESCAPE = re.compile(r"\\\\|\\x([0-9a-f]{2})")
_LOOSE = r"[^\"\\\r\n]"
_TIGHT = r"[^\0-\x1f\"\\\r\n]"
"""The class of string characters as the library writes it, without and with control characters excluded."""
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")


class XGrammarBackend:
    """Compiles with xgrammar.

    Args:
        vocabulary: of the model.
    """

    name = "xgrammar"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._infos: dict[frozenset[int], xgrammar.TokenizerInfo] = {}
        self._guard = SurrogateGuard(vocabulary)

    def compile(self, spec: GrammarSpec) -> bytes:
        """Compile and serialise. Raises GrammarError."""
        compiler = xgrammar.GrammarCompiler(self._info(spec), max_threads=1, cache_enabled=False)
        try:
            text: str = _compile(compiler, spec).serialize_json()
        except GrammarError:
            raise
        except Exception as error:  # the library raises RuntimeError and several of its own
            raise GrammarError(_reason(error)) from error
        return text.encode()

    def load(self, spec: GrammarSpec, compiled: bytes) -> XGrammar:
        """Deserialise."""
        found = xgrammar.CompiledGrammar.deserialize_json(compiled.decode(), self._info(spec))
        return XGrammar(found, self._guard, len(compiled))

    def _info(self, spec: GrammarSpec) -> Any:
        """The vocabulary in the library's form; a structural tag sees the control tokens that it names."""
        vocabulary = self._vocabulary
        shown = vocabulary.named_in(spec.text) if spec.kind == "structural_tag" else frozenset()
        found = self._infos.get(shown)
        if found is None:
            found = self._infos[shown] = xgrammar.TokenizerInfo(
                [b"" if _SURROGATE.search(raw) else raw for raw in vocabulary.showing(shown)],
                xgrammar.VocabType.RAW,
                vocab_size=vocabulary.size,
                stop_token_ids=list(vocabulary.stop_ids),
            )
        return found


def _compile(compiler: Any, spec: GrammarSpec) -> Any:
    of = xgrammar.Grammar
    match spec.kind:
        case "json_object":
            return compiler.compile_grammar(_json(of, '{"type":"object"}', strict=False))
        case "json_schema":
            check_schema(spec.text)
            return compiler.compile_grammar(_json(of, spec.text, strict=spec.strict))
        case "regex":
            return compiler.compile_regex(spec.text)
        case "choice":
            return compiler.compile_grammar("root ::= " + " | ".join(map(_literal, json.loads(spec.text))))
        case "grammar":
            return compiler.compile_grammar(spec.text)
        case "structural_tag":
            return compiler.compile_grammar(_tighten(of, of.from_structural_tag(spec.text)))


def _json(of: Any, schema: str, *, strict: bool) -> Any:
    return _tighten(of, of.from_json_schema(schema, strict_mode=strict, max_whitespace_cnt=MAX_WHITESPACE))


def _tighten(of: Any, grammar: Any) -> Any:
    """Exclude control characters wherever the library forgot to."""
    text = str(grammar)
    if _LOOSE not in text:
        return grammar
    # Written as two hex digits, read as as many as follow: "\\xdfe" would come back as U+0DFE.
    exact = _SHORT_ESCAPE.sub(lambda found: f"\\u00{found[1]}" if found[1] else found[0], text)
    return of.from_ebnf(exact.replace(_LOOSE, _TIGHT))


def _literal(text: str) -> str:
    """A string of the EBNF dialect, which escapes like JSON."""
    return json.dumps(text, ensure_ascii=False)


def _reason(error: Exception) -> str:
    """The library's own words, without its time stamps and source lines."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(".cc:", 1)[-1].partition(": ")[2].strip() if ".cc:" in first else first


class SurrogateGuard:
    """Knows which tokens must not follow a byte ED, the first of half a surrogate pair.

    Args:
        vocabulary: of the model.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._leads = frozenset(i for i, raw in enumerate(vocabulary.tokens) if raw.endswith(b"\xed"))
        bits = np.ones(-(-vocabulary.size // 32) * 32, np.uint8)
        bits[[i for i, raw in enumerate(vocabulary.tokens) if raw and 0xA0 <= raw[0] <= 0xBF]] = 0
        self.rest_W: Mask = np.packbits(bits, bitorder="little").view(np.int32)

    def leads(self, token: int) -> bool:
        """Whether a token ends in ED."""
        return token in self._leads


class XGrammar:
    """A compiled grammar."""

    def __init__(self, compiled: Any, guard: SurrogateGuard, nbytes: int) -> None:
        self._compiled = compiled
        self._guard = guard
        self.nbytes = max(nbytes, int(compiled.memory_size_bytes))

    def matcher(self) -> XGrammarMatcher:
        """Return a matcher at the beginning."""
        return XGrammarMatcher(xgrammar.GrammarMatcher(self._compiled), self._guard)


class XGrammarMatcher:
    """Adapts ``xgrammar.GrammarMatcher``."""

    def __init__(self, inner: Any, guard: SurrogateGuard, leads: tuple[bool, ...] = ()) -> None:
        self._inner = inner
        self._guard = guard
        self._leads = [*leads]
        """Of each accepted token, whether it ends in ED."""

    def fill(self, mask_W: Mask) -> None:
        """Write the mask."""
        if self._inner.is_terminated():
            mask_W[:] = 0
            return
        if not self._inner.fill_next_token_bitmask(torch.from_numpy(mask_W[None]), 0):
            mask_W[:] = -1  # the library leaves the mask alone when everything is allowed
        if self._leads and self._leads[-1]:
            mask_W &= self._guard.rest_W

    def accept(self, token: int) -> bool:
        """Go on by a token."""
        accepted = not self._inner.is_terminated() and bool(self._inner.accept_token(token))
        if accepted:
            self._leads.append(self._guard.leads(token))
        return accepted

    def rollback(self, count: int) -> None:
        """Take tokens back."""
        if count:
            self._inner.rollback(count)
            del self._leads[-count:]

    def fork(self) -> XGrammarMatcher:
        """Return a copy."""
        return XGrammarMatcher(self._inner.fork(), self._guard, tuple(self._leads))

    def is_terminated(self) -> bool:
        """Whether a stop id was accepted."""
        return bool(self._inner.is_terminated())

    def forced(self) -> bytes:
        """Return the forced text."""
        return str(self._inner.find_jump_forward_string()).encode()
