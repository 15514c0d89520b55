"""The life of an engine, be it in a process or a thread: boot message, build, loop, last words."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Callable

from penstock.config.settings import Config
from penstock.core.errors import FieldError
from penstock.engine.build import Built, find_builder
from penstock.engine.ipc import EnginePort
from penstock.engine.loop import EngineLoop
from penstock.engine.messages import Boot, BootLine, Died, Ready, refusal_of
from penstock.engine.pulse import Pulse

log = logging.getLogger(__name__)


def serve(
    port: EnginePort,
    pulse: Pulse,
    on_boot: Callable[[Config], None] = lambda config: None,
    on_built: Callable[[], None] = lambda: None,
) -> bool:
    """Wait for `Boot`, build the engine, and serve until the end.

    Args:
        port: where the clients are; closed at the end.
        pulse: shows the supervisor that the engine moves.
        on_boot: called with the settings before building.
        on_built: called between building and serving.

    Returns:
        True after an orderly end; False after a failure, which was reported to the owner in full.
    """
    built: Built | None = None
    owner = b""
    try:
        while (received := port.receive()) is None:
            if port.wait(None):
                return True
        owner, boot = received
        if not isinstance(boot, Boot):
            raise TypeError(f"expected a boot message first, got {type(boot).__name__}")
        on_boot(boot.config)
        built = find_builder(boot.build)(boot.config, lambda text: port.send(owner, BootLine(text)))
        on_built()
        port.send(owner, Ready(built.info))
        if built.core.grammars is not None and boot.config.structured.grammar_preload:
            built.core.grammars.preload()
        EngineLoop(built.core, port, lease_timeout=boot.lease_timeout, pulse=pulse).run()
        return True
    except Exception as error:
        words = last_words(error)
        if words.refusal is None:  # a user's mistake is the API side's to tell, once
            log.error("the engine failed: %s\n%s", words.cause, words.traceback)
        port.send(owner, words)
        return False
    finally:
        if built is not None:
            with contextlib.suppress(Exception):
                built.core.close()
        port.close()


def last_words(error: Exception) -> Died:
    """Describe an exception for the API side; a user's mistake keeps its field."""
    refusal = refusal_of(error) if isinstance(error, FieldError) else None
    cause = "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")
    return Died(cause, "".join(traceback.format_exception(error)), refusal)
