"""llguidance: derivative-based lexing and Earley parsing at run time, nothing worked out before.

Its grammars have no portable form and need none: building one is quick. So `compile` only tries the grammar
out, and `load` builds it again in the engine (the library lets other threads run meanwhile).
"""

from __future__ import annotations

import json
from typing import Any

import llguidance

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.protocol import GrammarError, Mask
from penstock.runtime.grammar.vocabulary import Vocabulary


class LLGuidanceBackend:
    """Compiles with llguidance.

    Args:
        vocabulary: of the model; must have a stop id.

    Raises:
        GrammarError: the vocabulary has no stop id.
    """

    name = "llguidance"

    def __init__(self, vocabulary: Vocabulary) -> None:
        if not vocabulary.stop_ids:
            raise GrammarError("llguidance needs a model with an end-of-sequence token")
        wrapped = llguidance.TokenizerWrapper(_Tokens(vocabulary))
        self._tokenizer = llguidance.LLTokenizer(
            wrapped, n_vocab=vocabulary.size, eos_token=list(vocabulary.stop_ids)
        )
        self._stop_ids = vocabulary.stop_ids

    def compile(self, spec: GrammarSpec) -> bytes:
        """Build the grammar and let it go again. Raises GrammarError."""
        self.load(spec, b"")
        return b""

    def load(self, spec: GrammarSpec, compiled: bytes) -> LLGrammar:
        """Build the grammar. Raises GrammarError."""
        try:
            text = _grammar(spec)
        except ValueError as error:
            raise GrammarError(str(error)) from error
        inner = llguidance.LLMatcher(self._tokenizer, text, log_level=0)
        if inner.is_error():
            raise GrammarError(_first_line(inner.get_error()))
        return LLGrammar(inner, self._stop_ids, len(text))


def _first_line(text: str) -> str:
    first = (text.strip().splitlines() or ["unknown error"])[0]
    return "no text at all belongs to it" if first.startswith("NoExtension") else first


def _grammar(spec: GrammarSpec) -> str:
    of = llguidance.LLMatcher
    match spec.kind:
        case "json_object":
            return str(of.grammar_from_json_schema('{"type":"object"}'))
        case "json_schema":
            return str(
                of.grammar_from_json_schema(_closed(json.loads(spec.text)) if spec.strict else spec.text)
            )
        case "regex":
            return str(of.grammar_from_regex(spec.text))
        case "choice":
            options = " | ".join(json.dumps(option, ensure_ascii=False) for option in json.loads(spec.text))
            return str(of.grammar_from_lark(f"start: {options}"))
        case "grammar":
            return str(llguidance.grammar_from("grammar", spec.text))
        case "structural_tag":
            raise GrammarError("structural tags need the backend xgrammar")


def _closed(schema: Any) -> Any:
    """A copy in which objects that name properties hold no others, unless they say otherwise."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    literal = ("const", "enum", "default", "examples")
    copy = {key: value if key in literal else _closed(value) for key, value in schema.items()}
    if (
        isinstance(copy.get("properties"), dict)
        and not {"additionalProperties", "patternProperties"} & copy.keys()
    ):
        copy["additionalProperties"] = False
    return copy


class _Tokens:
    """What ``llguidance.TokenizerWrapper`` asks of a tokenizer; it spells byte by byte."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = list(vocabulary.tokens)
        self.eos_token_id = vocabulary.stop_ids[0]
        self.special_token_ids = [i for i, raw in enumerate(vocabulary.tokens) if not raw]
        self._ids = {raw: i for i, raw in reversed(list(enumerate(vocabulary.tokens))) if raw}

    def __call__(self, text: bytes | str) -> list[int]:
        raw = text.encode() if isinstance(text, str) else text
        return [i for i in (self._ids.get(bytes((byte,))) for byte in raw) if i is not None]


class LLGrammar:
    """A grammar ready to be copied."""

    def __init__(self, inner: Any, stop_ids: tuple[int, ...], nbytes: int) -> None:
        self._inner = inner
        self._stop_ids = stop_ids
        self.nbytes = 16 * nbytes + 100_000  # the library does not say; measured on middling schemas

    def matcher(self) -> LLMatcher:
        """Return a matcher at the beginning."""
        return LLMatcher(self._inner.deep_copy(), self._stop_ids)


class LLMatcher:
    """Adapts ``llguidance.LLMatcher``, which counts tokens but not the stop id that ends them."""

    def __init__(self, inner: Any, stop_ids: tuple[int, ...], ended: bool = False) -> None:
        self._inner = inner
        self._stop_ids = stop_ids
        self._ended = ended

    def fill(self, mask_W: Mask) -> None:
        """Write the mask."""
        if self._ended:
            mask_W[:] = 0
            return
        self._inner.unsafe_compute_mask_ptr(mask_W.ctypes.data, mask_W.nbytes)
        if self._inner.is_error():
            raise GrammarError(_first_line(self._inner.get_error()))

    def accept(self, token: int) -> bool:
        """Go on by a token."""
        if self._ended:
            return False
        if token in self._stop_ids:
            self._ended = bool(self._inner.is_accepting())
            return self._ended
        return int(self._inner.try_consume_tokens([token])) == 1

    def rollback(self, count: int) -> None:
        """Take tokens back."""
        if count and self._ended:
            self._ended = False
            count -= 1
        if count:
            self._inner.rollback(count)

    def fork(self) -> LLMatcher:
        """Return a copy."""
        return LLMatcher(self._inner.deep_copy(), self._stop_ids, self._ended)

    def is_terminated(self) -> bool:
        """Whether a stop id was accepted."""
        return self._ended

    def forced(self) -> bytes:
        """Return the forced text."""
        return bytes(self._inner.compute_ff_bytes())
