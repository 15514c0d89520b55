"""From a `Config` to a running `EngineCore`; builders are named by import strings to cross processes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import ConfigError
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.engine.grammars import GrammarDesk
from penstock.engine.messages import EngineInfo
from penstock.engine.observation import Observation
from penstock.engine.pulse import Pulse

if TYPE_CHECKING:
    from penstock.engine.journal import Sink
    from penstock.executors.inline import InlineExecutor

DEFAULT_BUILD = "penstock.engine.build:build"


class Core(Protocol):
    """What the boundary needs of an engine; `EngineCore` is the one that is meant."""

    pulse: Pulse
    """Told of every step that begins."""
    grammars: GrammarDesk | None
    """Compiles and holds the grammars of requests; None ignores them."""

    def submit(self, spec: RequestSpec) -> None:
        """Take a sequence in, or raise InvalidRequest or Overloaded."""
        ...

    def cancel(self, request_id: str, detail: str = ..., reason: FinishReason = ...) -> bool:
        """End a sequence early; its terminal output comes with the next tick."""
        ...

    def tick(self) -> list[Output]:
        """Run one step."""
        ...

    def has_work(self) -> bool:
        """Whether a tick could bring anything."""
        ...

    def stats(self) -> EngineStats:
        """Return a snapshot."""
        ...

    def observe(self, since: int = ..., most: int = ...) -> Observation | None:
        """Return what there is to see; None if nothing is noted."""
        ...

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes."""
        ...

    def start_profile(self) -> bool:
        """Begin to record steps; False if it cannot, or does already."""
        ...

    def stop_profile(self) -> str:
        """Write what was recorded and return where; empty if nothing was."""
        ...

    def drain(self) -> None:
        """Stop admitting."""
        ...

    def abort_all(self, detail: str) -> None:
        """End every live sequence."""
        ...

    def close(self) -> None:
        """Release the device; idempotent."""
        ...


class Built(msgspec.Struct, frozen=True):
    """A running engine and what the API side must know of it."""

    core: Core
    info: EngineInfo


Report = Callable[[str], None]
"""Receives lines about the progress of starting."""

Builder = Callable[[Config, Report], Built]
"""Raises ConfigError when a setting, model folder or checkpoint cannot be used."""


def find_builder(name: str) -> Builder:
    """Import ``package.module:function``.

    Raises:
        ConfigError: there is no such thing.
    """
    module, _, attribute = name.partition(":")
    try:
        found: Builder = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError("build", f"expected 'package.module:function', got {name!r} ({error})") from error
    return found


def preload_builder(name: str) -> None:
    """Import what a builder will need, so that it builds sooner; see `preload`.

    Raises:
        ConfigError: as `find_builder`.
    """
    find_builder(name)
    more = getattr(importlib.import_module(name.partition(":")[0]), "preload", None)
    if more is not None:
        more()


def preload() -> None:
    """Import what `build` imports as it goes along; the model library is the larger part of it."""
    importlib.import_module("penstock.executors.inline")
    importlib.import_module("penstock.policies.bundle")
    importlib.import_module("penstock.engine.core")
    importlib.import_module("transformers.models.llama.configuration_llama")


def build(config: Config, report: Report) -> Built:
    """Load the model, plan the memory and put the engine together: the builder that serves.

    Raises:
        ConfigError: the settings, the model or the machine do not fit together.
    """
    from penstock.executors.inline import build_executor
    from penstock.policies.bundle import build_policies

    build_policies(config.schedule, config.cache)  # what cannot be used is refused before the model is loaded
    report(f"loading {config.model.model or 'the bundled model'}")
    executor = build_executor(config)
    return assemble(config, executor, eos_ids=_eos_ids(executor))


def assemble(config: Config, executor: Any, eos_ids: tuple[int, ...] = ()) -> Built:
    """Put an engine around an executor and describe it.

    Args:
        config: the settings; those that the executor resolved take their place.
        executor: an `Executor`; ``config``, ``decisions`` and ``memory`` are read if it has them.
        eos_ids: the model's end-of-sequence ids.
    """
    from penstock.cost.spec import load_cost
    from penstock.engine.core import build_engine
    from penstock.engine.trace import StepTrace
    from penstock.policies.bundle import policy_cautions

    resolved: Config = getattr(executor, "config", None) or config
    journal = _journal(config.server.record_steps)
    cost = load_cost(config.model.cost) if config.model.cost else None
    core = build_engine(executor, resolved.schedule, resolved.cache, journal=journal, cost=cost, record=True)
    if resolved.observe.trace_steps and core.recorder is not None:
        trace = StepTrace(resolved.observe.trace_steps, resolved.observe.trace_steps_bytes)
        trace.bind(core.scheduler.state)
        core.recorder.listener = trace
    spec = executor.spec()
    memory = getattr(executor, "memory", None)
    decisions = getattr(executor, "decisions", ())
    info = EngineInfo(
        vocab_size=spec.vocab_size,
        max_model_len=spec.max_model_len,
        eos_ids=eos_ids,
        page_size=spec.page_size,
        blocks=spec.blocks,
        embedding_size=spec.embedding_size,
        slots=min(spec.slots, resolved.schedule.max_num_seqs),
        plan=() if memory is None else tuple(memory.text().splitlines()),
        decisions=tuple(f"{one.name} = {one.value}  ({one.why})" for one in decisions),
        cautions=policy_cautions(resolved.schedule, resolved.cache, cost=False),
        pid=os.getpid(),
    )
    return Built(core, info)


def _journal(path: str) -> Sink | None:
    """Open the journal, if one is wanted.

    Raises:
        ConfigError: the file cannot be written.
    """
    from penstock.engine.journal import JournalFile

    if not path:
        return None
    try:
        return JournalFile(path)
    except OSError as error:
        raise ConfigError("server.record_steps", f"cannot write {path}: {error.strerror}") from None


def _eos_ids(executor: InlineExecutor) -> tuple[int, ...]:
    """The model's own, from its generation config or config; read off the loaded model."""
    spec = getattr(executor.runner and executor.runner.decoder, "spec", None)
    return tuple(getattr(spec, "eos_ids", ()))
