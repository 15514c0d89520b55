"""From a `Config` to a running `EngineCore`; builders are named by import strings to cross processes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import ConfigError
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.engine.messages import EngineInfo

DEFAULT_BUILD = "penstock.engine.build:build"


class Core(Protocol):
    """What the boundary needs of an engine; `EngineCore` is the one that is meant."""

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

    def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes."""
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


def build(config: Config, report: Report) -> Built:
    """Load the model, plan the memory and put the engine together: the builder that serves."""
    from penstock.engine.core import build_engine
    from penstock.executors.inline import build_executor

    executor: Any = build_executor(config)
    core = build_engine(executor, config.schedule, config.cache)
    spec = executor.spec()
    info = EngineInfo(
        vocab_size=spec.vocab_size,
        max_model_len=spec.max_model_len,
        page_size=spec.page_size,
        blocks=spec.blocks,
        slots=min(spec.slots, config.schedule.max_num_seqs),
        pid=os.getpid(),
    )
    return Built(core, info)
