"""Replies that are not generated text: errors, models, tokens, and what operators and routers ask."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class ErrorDetail(Struct, frozen=True):
    """What went wrong, in OpenAI's form."""

    message: str
    """Fit to be shown to a user."""
    type: str
    param: str | None
    """Request field at fault."""
    code: str | None
    """Short name of the failure, for programs."""


class ErrorReply(Struct, frozen=True):
    """Body of every answer that is an error, and of the event that ends a failed stream."""

    error: ErrorDetail


class ModelCard(Struct, frozen=True, kw_only=True):
    """A served model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds of the server's start."""
    owned_by: str
    root: str
    """Folder or hub name that it was loaded from."""
    parent: str | None = None
    max_model_len: int
    """Context length, tokens."""


class ModelList(Struct, frozen=True, kw_only=True):
    """What this server serves."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class TokenizeReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token ids of a text or a conversation."""

    tokens: list[int]
    count: int
    max_model_len: int
    token_strs: list[str] | UnsetType = UNSET


class DetokenizeReply(Struct, frozen=True):
    """Text of token ids."""

    prompt: str


class TokenizerInfo(Struct, frozen=True, kw_only=True):
    """What a client that tokenises here must know of the tokenizer."""

    tokenizer_class: str
    bos_token: str | None
    eos_token: str | None
    pad_token: str | None
    unk_token: str | None
    chat_template: str | None
    """Jinja source."""
    model_max_length: int
    vocab_size: int


class Alive(Struct, frozen=True):
    """The process answers."""

    status: Literal["alive"] = "alive"


class HealthReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of the engine."""

    status: str
    """starting, ready, draining, restarting, dead or closed."""
    restarts: int | UnsetType
    """How often it was started again after it died."""
    model: str
    cause: str | UnsetType = UNSET
    """Why it is not ready."""


class Version(Struct, frozen=True):
    """Version of the server."""

    version: str


class LoadReply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How busy the server is; the engine's figures are absent while it cannot be asked."""

    server_load: int
    """Sequences that are unfinished."""
    running: int | UnsetType = UNSET
    waiting: int | UnsetType = UNSET
    kv_cache_usage: float | UnsetType = UNSET
    """Part of the KV blocks that live sequences hold, 0..1."""


class ModelInfo(Struct, frozen=True, kw_only=True):
    """What a router or a trainer must know of the model, in SGLang's words."""

    model_path: str
    tokenizer_path: str
    served_model_name: str
    is_generation: bool
    max_model_len: int
    vocab_size: int


class ServerInfo(Struct, frozen=True, kw_only=True):
    """How the server was started and what came of it."""

    version: str
    model: ModelInfo
    settings: dict[str, dict[str, Any]]
    """By section and field, keys and tokens left out."""
    memory_plan: list[str]
    decisions: list[str]
    """What was resolved at start, a line each."""
    state: HealthReply
