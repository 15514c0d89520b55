"""What is read again while the server runs: the keys file when it changes; keys and certificate on SIGHUP."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from penstock.config.settings import ServerConfig
from penstock.core.errors import ConfigError
from penstock.server.keystore import KeyStore
from penstock.server.listen import load_certificate

logger = logging.getLogger("penstock.server")


class Upkeep:
    """Runs while it is entered; belongs to the main thread's event loop.

    Args:
        server: the settings.
        keys: the keys.
        tls: what connections are made with; None without TLS.
    """

    def __init__(self, server: ServerConfig, keys: KeyStore, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._keys = keys
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._start(self._keys.watch())
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: self._start(self.renew()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def renew(self) -> None:
        """Read keys file and certificate now; what cannot be used is logged, and the old goes on."""
        await asyncio.to_thread(self._keys.reload, True)
        if self._tls is not None:
            try:
                await asyncio.to_thread(load_certificate, self._tls, self._server)
                logger.info("the certificate was read again")
            except ConfigError as error:
                logger.error("the certificate was not taken over: %s", error.message)
