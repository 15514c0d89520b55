"""xgrammar: most of each mask is worked out at compile time (Dong et al., "XGrammar", MLSys 2025).

Compiled grammars cross from the compiling process as JSON, which the library writes and reads.
"""

from __future__ import annotations

import json
from typing import Any

import torch
import xgrammar

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.protocol import GrammarError, Mask
from penstock.runtime.grammar.schema import check_schema
from penstock.runtime.grammar.vocabulary import Vocabulary

MAX_WHITESPACE = 24
"""Blanks between two parts of a JSON text: enough to indent, too few to fill an answer with."""


class XGrammarBackend:
    """Compiles with xgrammar.

    Args:
        vocabulary: of the model.
    """

    name = "xgrammar"

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._infos: dict[frozenset[int], xgrammar.TokenizerInfo] = {}

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
        return XGrammar(found, self._vocabulary.size, len(compiled))

    def _info(self, spec: GrammarSpec) -> Any:
        """The vocabulary in the library's form; a structural tag sees the control tokens that it names."""
        vocabulary = self._vocabulary
        shown = vocabulary.named_in(spec.text) if spec.kind == "structural_tag" else frozenset()
        found = self._infos.get(shown)
        if found is None:
            found = self._infos[shown] = xgrammar.TokenizerInfo(
                list(vocabulary.showing(shown)),
                xgrammar.VocabType.RAW,
                vocab_size=vocabulary.size,
                stop_token_ids=list(vocabulary.stop_ids),
            )
        return found


def _compile(compiler: Any, spec: GrammarSpec) -> Any:
    match spec.kind:
        case "json_object":
            return compiler.compile_json_schema(
                '{"type":"object"}', strict_mode=False, max_whitespace_cnt=MAX_WHITESPACE
            )
        case "json_schema":
            check_schema(spec.text)
            return compiler.compile_json_schema(
                spec.text, strict_mode=spec.strict, max_whitespace_cnt=MAX_WHITESPACE
            )
        case "regex":
            return compiler.compile_regex(spec.text)
        case "choice":
            return compiler.compile_grammar("root ::= " + " | ".join(map(_literal, json.loads(spec.text))))
        case "grammar":
            return compiler.compile_grammar(spec.text)
        case "structural_tag":
            return compiler.compile_structural_tag(spec.text)


def _literal(text: str) -> str:
    """A string of the EBNF dialect, which escapes like JSON."""
    return json.dumps(text, ensure_ascii=False)


def _reason(error: Exception) -> str:
    """The library's own words, without its time stamps and source lines."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return first.split(".cc:", 1)[-1].partition(": ")[2].strip() if ".cc:" in first else first


class XGrammar:
    """A compiled grammar."""

    def __init__(self, compiled: Any, vocab_size: int, nbytes: int) -> None:
        self._compiled = compiled
        self.nbytes = max(nbytes, int(compiled.memory_size_bytes))

    def matcher(self) -> XGrammarMatcher:
        """Return a matcher at the beginning."""
        return XGrammarMatcher(xgrammar.GrammarMatcher(self._compiled))


class XGrammarMatcher:
    """Adapts ``xgrammar.GrammarMatcher``."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def fill(self, mask_W: Mask) -> None:
        """Write the mask."""
        if self._inner.is_terminated():
            mask_W[:] = 0
        elif not self._inner.fill_next_token_bitmask(torch.from_numpy(mask_W[None]), 0):
            mask_W[:] = -1  # the library leaves the mask alone when everything is allowed

    def accept(self, token: int) -> bool:
        """Go on by a token."""
        return not self._inner.is_terminated() and bool(self._inner.accept_token(token))

    def rollback(self, count: int) -> None:
        """Take tokens back."""
        self._inner.rollback(count)

    def fork(self) -> XGrammarMatcher:
        """Return a copy."""
        return XGrammarMatcher(self._inner.fork())

    def is_terminated(self) -> bool:
        """Whether a stop id was accepted."""
        return bool(self._inner.is_terminated())

    def forced(self) -> bytes:
        """Return the forced text."""
        return str(self._inner.find_jump_forward_string()).encode()
