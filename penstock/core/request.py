"""What a client asks for, validated once at the edge and immutable from there on."""

from __future__ import annotations

from typing import Literal

import msgspec


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How tokens of one sequence are chosen. Text-level stops and ``n`` are the frontend's business.

    The token at (seed, position) is ``argmax(processed logits / temperature + Gumbel(seed, position))``,
    so it depends neither on batch-mates nor on speculation. ``temperature == 0`` is greedy.
    """

    max_tokens: int = 16
    """Most tokens to generate, >= 1."""
    min_tokens: int = 0
    """Before this many generated tokens, eos and stop ids cannot be chosen. 0..max_tokens."""
    temperature: float = 1.0
    """>= 0; 0 means greedy."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set whose probability reaches p, in (0, 1]."""
    min_p: float = 0.0
    """Drop tokens less likely than min_p times the most likely one, in [0, 1]."""
    presence_penalty: float = 0.0
    """Subtracted once from the logit of every token already generated, in [-2, 2]."""
    frequency_penalty: float = 0.0
    """Subtracted per occurrence among generated tokens, in [-2, 2]."""
    repetition_penalty: float = 1.0
    """Positive logits of tokens seen in prompt or output are divided by it, negative multiplied; > 0."""
    logit_bias: dict[int, float] = {}
    """Token id -> value added to its logit, each in [-100, 100]."""
    allowed_token_ids: tuple[int, ...] | None = None
    """If given, only these ids can be chosen; not empty."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Token id sequences that must not be generated; each not empty."""
    stop_token_ids: tuple[int, ...] = ()
    """Ids that end the sequence, besides the model's eos ids."""
    ignore_eos: bool = False
    """Do not end at the model's eos ids (stop_token_ids still end)."""
    seed: int = 0
    """Seed of the counter-based noise, 0 <= seed < 2**63. The edge draws one when the client gave none."""
    logprobs: int | None = None
    """Return the log-probability of each generated token and of this many most likely ones; None: none."""
    prompt_logprobs: int | None = None
    """The same for prompt tokens; forces the whole prompt to be computed."""
    pooling: Literal["mean", "last"] | None = None
    """Return the model's final hidden states of the prompt: averaged, or the last token's."""

    @property
    def needs_whole_prompt(self) -> bool:
        """Whether every prompt token must be computed, cached or not."""
        return self.prompt_logprobs is not None or self.pooling == "mean"


class SLO(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Service level objective of one request, in seconds; None means no objective."""

    ttft: float | None = None
    tpot: float | None = None
    deadline: float | None = None
    """Seconds after arrival by which the last token must be out."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where in its program (agent, conversation) a request stands, as far as the client tells."""

    index: int = 0
    """Turns of the program before this one."""
    last: bool = False
    """No turn follows."""
    tool: str | None = None
    """Tool that is expected to run between this turn and the next."""


class GrammarSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A language that the answer must belong to; one form for every spelling that clients use."""

    kind: Literal["json_object", "json_schema", "regex", "choice", "grammar", "structural_tag"]
    text: str = ""
    """By kind: nothing, a JSON schema, a regular expression, a JSON list of strings, EBNF, a structural tag
    as JSON."""
    strict: bool = True
    """For a schema: objects hold the named properties only, unless the schema says otherwise."""
    after: str = ""
    """The grammar binds what follows this text (the end of reasoning) only; empty binds it all."""
    field: str = "grammar"
    """What the client called it, for errors."""


class RequestSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sequence to generate, as it crosses from the API side to the engine. The engine trusts it."""

    id: str
    """Unique among live requests."""
    prompt_ids: tuple[int, ...]
    """Prompt tokens, at least one."""
    sampling: SamplingParams = SamplingParams()
    eos_ids: tuple[int, ...] = ()
    """The model's end-of-sequence ids."""
    arrival: float = 0.0
    """Engine-clock seconds at which it reached the front door; stamped by the engine when 0."""
    tenant: str = "default"
    weight: float = 1.0
    """Share of the tenant under fair policies, > 0."""
    priority: int = 0
    """Smaller runs first."""
    slo: SLO | None = None
    program: str | None = None
    """Id of the multi-turn program (agent) that this request is a part of."""
    turn: Turn | None = None
    """Its place in the program."""
    length_score: float | None = None
    """Predicted length of the answer, on any scale on which longer is larger; None: no prediction."""
    group: str | None = None
    """Prefix group of an offline job: members share a prefix and are best run together."""
    group_tokens: int = 0
    """Leading prompt tokens that the members of the group share."""
    adapter: str | None = None
    grammar: GrammarSpec | None = None
    """What the answer must look like."""
    cache_namespace: str = ""
    """Requests share cached prefixes only within one namespace."""
    trace: str | None = None
    """W3C traceparent of the caller."""
