"""Sampling parameters as users write them: loosely typed in, checked types and ranges out.

Everything that does not depend on the model is checked here; `specs` measures the result against the model.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.core.errors import InvalidRequest
from penstock.core.request import GrammarSpec, SamplingParams
from penstock.frontend.structured import structured_outputs

MAX_LOGPROBS = 20
"""Most likely tokens that can be asked for at a position."""
MAX_N = 128
"""Completions of one prompt."""
MAX_STOPS = 64
MAX_LIST = 4096
"""Longest list of ids, biases or words."""
LEAST_REPETITION = 0.01
"""Smallest repetition penalty: logits divided by less could leave float32's range."""
GREEDY_BELOW = 1e-6
"""Temperatures below this count as 0: logits divided by them would leave float32's range."""


class GenerationParams(msgspec.Struct, frozen=True, kw_only=True):
    """How one prompt is to be continued. None (or nothing) means: not given, the default applies.

    The meaning of each field is that of `penstock.core.request.SamplingParams`; those below come on top.
    """

    max_tokens: int | None = None
    """Most tokens to generate; by default 16, and for conversations the room left in the context."""
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[str | tuple[int, ...], ...] = ()
    """Words (or token id sequences) that must not be generated."""
    stop: tuple[str, ...] = ()
    """Strings that end the completion; they may span tokens."""
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    """Leave the stop string (or the text of the stop token) in the text."""
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    """Leave control tokens out of the text."""
    shown_special_tokens: tuple[str, ...] = ()
    """Control tokens that stay in the text all the same: marks that whoever reads it looks for."""
    seed: int | None = None
    """Seed of the noise; drawn by the engine's front when None."""
    n: int = 1
    """Completions of the prompt, each with a seed of its own derived from ``seed`` (`specs.derive_seed`)."""
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    pooling: str | None = None
    """Return an embedding of the prompt: the "mean" of its final hidden states, or the "last" token's."""
    truncate_prompt_tokens: int | None = None
    """Keep only this many tokens at the end of the prompt."""
    structured_outputs: GrammarSpec | None = None
    """What the text must look like: a mapping with json, regex, choice, grammar, json_object or
    structural_tag, see `penstock.frontend.structured`."""

    def __post_init__(self) -> None:
        """Check types and ranges, so that a value of this class is always sound.

        Raises:
            InvalidRequest: names the field and what was expected.
        """
        for name, rule in _RULES.items():
            value = getattr(self, name)
            checked = None if value is None and name in _OPTIONAL else rule(name, value)
            if checked is not value:
                msgspec.structs.force_setattr(self, name, checked)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise InvalidRequest(
                "min_tokens",
                f"expected at most max_tokens ({self.max_tokens}), got {self.min_tokens}",
            )


def parse_params(given: Any = None, **more: Any) -> GenerationParams:
    """Return checked parameters.

    Args:
        given: a mapping, a `GenerationParams`, a core `SamplingParams`, or None for the defaults.
        more: further parameters by name; they win.

    Raises:
        InvalidRequest: names the field and what was expected.
    """
    if isinstance(given, GenerationParams | SamplingParams):
        if not more and isinstance(given, GenerationParams):
            return given
        given = msgspec.structs.asdict(given)
    elif given is None:
        given = {}
    elif not isinstance(given, Mapping):
        raise InvalidRequest("params", f"expected a mapping of sampling parameters, got {_kind(given)}")
    values = {**given, **more}
    for name in values:
        if name not in _RULES:
            near = difflib.get_close_matches(str(name), _RULES, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidRequest(str(name), f"no such sampling parameter{hint}")
    return GenerationParams(**{k: v for k, v in values.items() if v is not None or k in _OPTIONAL})


Rule = Callable[[str, Any], Any]


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__


def _integer(low: int, high: int | None = None) -> Rule:
    span = f"an integer of at least {low}" if high is None else f"an integer from {low} to {high}"

    def check(field: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest(field, f"expected {span}, got {value!r}")
        if value < low or (high is not None and value > high):
            raise InvalidRequest(field, f"expected {span}, got {value}")
        return int(value)

    return check


def _number(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    bound = f"greater than {low:g}" if above else f"of at least {low:g}"
    span = f"a number {bound}" if high == math.inf else f"a number {bound} and at most {high:g}"

    def check(field: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRequest(field, f"expected {span}, got {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number) or number < low or number > high or (above and number == low):
            raise InvalidRequest(field, f"expected {span}, got {value}")
        return number

    return check


def _temperature(field: str, value: Any) -> float:
    number: float = _number(0.0)(field, value)
    return number if number >= GREEDY_BELOW else 0.0


def _top_k(field: str, value: Any) -> int:
    """-1 is what other engines write for "all"."""
    found: int = _integer(0)(field, 0 if value == -1 and not isinstance(value, bool) else value)
    return found


def _flag(field: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(field, f"expected true or false, got {value!r}")
    return value


def _items(field: str, value: Any, most: int = MAX_LIST) -> list[Any]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
        raise InvalidRequest(field, f"expected a list, got {_kind(value)}")
    items = list(value)
    if len(items) > most:
        raise InvalidRequest(field, f"expected at most {most} entries, got {len(items)}")
    return items


def _choice(*known: str) -> Rule:
    def check(field: str, value: Any) -> str:
        if value not in known:
            raise InvalidRequest(field, f"expected one of {', '.join(known)}, got {value!r}")
        return str(value)

    return check


def _ids(field: str, value: Any) -> tuple[int, ...]:
    check = _integer(0)
    return tuple(check(f"{field}[{i}]", item) for i, item in enumerate(_items(field, value)))


def _some_ids(field: str, value: Any) -> tuple[int, ...]:
    ids = _ids(field, value)
    if not ids:
        raise InvalidRequest(field, "expected at least one token id, got none")
    return ids


def _stops(field: str, value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else _items(field, value, MAX_STOPS)
    for i, item in enumerate(items):
        if not isinstance(item, str) or not item:
            raise InvalidRequest(f"{field}[{i}]", f"expected a non-empty string, got {item!r}")
    return tuple(dict.fromkeys(items))


def _words(field: str, value: Any) -> tuple[str | tuple[int, ...], ...]:
    items = [value] if isinstance(value, str) else _items(field, value)
    return tuple(
        item if isinstance(item, str) else _some_ids(f"{field}[{i}]", item) for i, item in enumerate(items)
    )


def _bias(field: str, value: Any) -> dict[int, float]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(field, f"expected an object of token id: bias, got {_kind(value)}")
    if len(value) > MAX_LIST:
        raise InvalidRequest(field, f"expected at most {MAX_LIST} entries, got {len(value)}")
    check, found = _number(-100.0, 100.0), dict[int, float]()
    for key, bias in value.items():
        try:
            token = int(key)
        except (TypeError, ValueError):
            raise InvalidRequest(field, f"expected token ids as keys, got {key!r}") from None
        found[_integer(0)(field, token)] = check(f"{field}[{token}]", bias)
    return found


_RULES: dict[str, Rule] = {
    "max_tokens": _integer(1),
    "min_tokens": _integer(0),
    "temperature": _temperature,
    "top_k": _top_k,
    "top_p": _number(0.0, 1.0, above=True),
    "min_p": _number(0.0, 1.0),
    "presence_penalty": _number(-2.0, 2.0),
    "frequency_penalty": _number(-2.0, 2.0),
    "repetition_penalty": _number(LEAST_REPETITION, 100.0),
    "logit_bias": _bias,
    "allowed_token_ids": _some_ids,
    "bad_words": _words,
    "stop": _stops,
    "stop_token_ids": _ids,
    "include_stop_str_in_output": _flag,
    "ignore_eos": _flag,
    "skip_special_tokens": _flag,
    "shown_special_tokens": _stops,
    "seed": _integer(0, 2**63 - 1),
    "n": _integer(1, MAX_N),
    "logprobs": _integer(0, MAX_LOGPROBS),
    "prompt_logprobs": _integer(0, MAX_LOGPROBS),
    "truncate_prompt_tokens": _integer(1),
    "pooling": _choice("mean", "last"),
    "structured_outputs": structured_outputs,
}

_OPTIONAL = frozenset(
    (
        "max_tokens",
        "allowed_token_ids",
        "seed",
        "logprobs",
        "prompt_logprobs",
        "truncate_prompt_tokens",
        "pooling",
        "structured_outputs",
    )
)
"""Parameters for which None is a value of its own."""
