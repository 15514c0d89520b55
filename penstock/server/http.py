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
    bounds = Bounds(
        read_timeout=server.client_read_timeout,
        write_timeout=server.client_write_timeout,
        connections=server.max_connections,
    )
    return {
        "http": bounded(bounds),
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "ws": "none",
        "server_header": False,
        "date_header": False,
        "timeout_keep_alive": server.keep_alive_timeout,
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
    # Most of what a request makes is freed by counting references. What is left in cycles (some 8 KB each) is
    # looked for in larger portions than by default, but in all generations: with the rest frozen, there is
    # little to look through, and memory must not wait for long.
    gc.set_threshold(5_000, 5, 2)
