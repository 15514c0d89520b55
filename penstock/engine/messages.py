"""What crosses the boundary between API side and engine side: tagged msgspec structs, as msgpack."""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import ConfigError, InvalidRequest, Overloaded, PenstockError
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.engine.observation import Observation


class EngineDead(PenstockError):
    """The engine is gone and will not come back; the text carries the true cause."""


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the API side must know of a running engine."""

    vocab_size: int
    max_model_len: int
    """Context length in tokens, prompt and output together."""
    eos_ids: tuple[int, ...] = ()
    page_size: int = 0
    """Tokens per KV block."""
    blocks: int = 0
    """KV blocks on the device."""
    embedding_size: int = 0
    """Length of an embedding; 0: the engine makes none."""
    slots: int = 0
    """Sequences that run at once."""
    plan: tuple[str, ...] = ()
    """Lines of the memory plan, ready to print."""
    decisions: tuple[str, ...] = ()
    """Lines saying how automatic settings were resolved, ready to print."""
    cautions: tuple[str, ...] = ()
    """Lines about policies that work together and may surprise, ready to print."""
    pid: int = 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """State of the engine as the API side sees it."""

    state: Literal["starting", "ready", "draining", "restarting", "dead", "closed"]
    cause: str = ""
    """Why it is restarting or dead, or why it last died."""
    restarts: int = 0


class Boot(msgspec.Struct, frozen=True, tag="boot"):
    """First message of the owner: build the engine."""

    config: Config
    build: str
    """Import string ``package.module:function`` of a `Builder`."""
    lease_timeout: float = 15.0
    """Seconds of silence after which a connection's sequences are cancelled."""


class Submit(msgspec.Struct, frozen=True, tag="submit"):
    """Admit all sequences of one request, or none. Answered by `Accepted` or `Rejected`."""

    seq: int
    specs: tuple[RequestSpec, ...]


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel sequences; each still gets its one terminal output. Unknown ids are ignored."""

    ids: tuple[str, ...]
    detail: str = "client"
    reason: FinishReason = FinishReason.ABORT


class Lease(msgspec.Struct, frozen=True, tag="lease"):
    """Every id the API side still wants; the engine cancels all others of this connection."""

    ids: tuple[str, ...]


class Call(msgspec.Struct, frozen=True, tag="call"):
    """Ask for something; answered by `Reply`."""

    seq: int
    name: Literal["stats", "observe", "reset_prefix_cache", "start_profile", "stop_profile", "drain"]
    since: int = -1
    """For observe: the ticket after which steps are told..."""
    most: int = 0
    """...and how many at most."""


class Shutdown(msgspec.Struct, frozen=True, tag="shutdown"):
    """End the engine now."""


class BootLine(msgspec.Struct, frozen=True, tag="line"):
    """A line about the progress of starting, ready to print."""

    text: str


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The engine takes requests."""

    info: EngineInfo


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An exception in transport: `refusal_of` packs, `error_of` unpacks."""

    kind: Literal["invalid", "overloaded", "config", "other"]
    text: str
    field: str = ""
    retry_after: float | None = None


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """The `Submit` of the same ``seq`` was admitted."""

    seq: int


class Rejected(msgspec.Struct, frozen=True, tag="rejected"):
    """The `Submit` of the same ``seq`` was refused as a whole."""

    seq: int
    refusal: Refusal


class Outputs(msgspec.Struct, frozen=True, tag="outputs"):
    """News of one step for this connection."""

    outputs: tuple[Output, ...]


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """Answer to `Call`; the field that belongs to the call is set."""

    seq: int
    stats: EngineStats | None = None
    observation: Observation | None = None
    done: bool = False
    text: str = ""


class Died(msgspec.Struct, frozen=True, tag="died"):
    """Last words of an engine: it failed while starting or running."""

    cause: str
    """Exception type and text, one line."""
    traceback: str = ""
    refusal: Refusal | None = None
    """Set when the failure is a user's to mend (a setting, a model folder)."""


ToEngine = Boot | Submit | Cancel | Lease | Call | Shutdown
FromEngine = BootLine | Ready | Accepted | Rejected | Outputs | Reply | Died


def refusal_of(error: PenstockError) -> Refusal:
    """Pack an exception for transport."""
    if isinstance(error, InvalidRequest):
        return Refusal(kind="invalid", text=error.message, field=error.field)
    if isinstance(error, ConfigError):
        return Refusal(kind="config", text=error.message, field=error.field)
    if isinstance(error, Overloaded):
        return Refusal(kind="overloaded", text=error.reason, retry_after=error.retry_after)
    return Refusal(kind="other", text=str(error))


def error_of(refusal: Refusal) -> PenstockError:
    """Unpack `refusal_of` into an exception of the same class."""
    if refusal.kind == "invalid":
        return InvalidRequest(refusal.field, refusal.text)
    if refusal.kind == "config":
        return ConfigError(refusal.field, refusal.text)
    if refusal.kind == "overloaded":
        return Overloaded(refusal.text, refusal.retry_after)
    return PenstockError(refusal.text)
