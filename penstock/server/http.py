"""How HTTP is spoken and on which event loop: the choices that the server and its tests share."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from penstock.config.settings import ServerConfig
from penstock.server.protocol import Bounds, bounded

T = TypeVar("T")
logger = logging.getLogger("penstock.server")


def http_settings(server: ServerConfig) -> dict[str, Any]:
    """Return keyword arguments for `uvicorn.Config`: our protocol with the bounds that are configured."""
    bounds = Bounds(read_timeout=server.client_read_timeout, write_timeout=server.client_write_timeout)
    return {
        "http": bounded(bounds),
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "ws": "none",
        "server_header": False,
        "date_header": False,
        "timeout_keep_alive": server.keep_alive_timeout,
        "limit_concurrency": server.max_connections or None,
    }


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like `asyncio.run`, on uvloop where there is one."""
    try:
        import uvloop
    except ImportError:  # not on this platform
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def settle_memory() -> None:
    """Keep what lives for ever (code, routes, the tokenizer) out of every later garbage collection."""
    gc.collect()
    gc.freeze()
    # What a request makes is freed by counting references; the rare cycle can wait for a while.
    gc.set_threshold(20_000, 20, 20)
