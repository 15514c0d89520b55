"""`run_server`: engine, sockets and signals around the application, from start to a drained end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from types import FrameType

import uvicorn

from penstock.config.settings import Config
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.model import served_name
from penstock.observe.logs import setup_logging
from penstock.server import http
from penstock.server.app import create_app
from penstock.server.banner import Address, banner
from penstock.server.http import http_settings
from penstock.server.keystore import key_store
from penstock.server.listen import close_socket, open_socket, tls_settings
from penstock.server.upkeep import Upkeep

logger = logging.getLogger("penstock.server")

FLUSH_SECONDS = 5.0
"""After the drain, how long the last bytes of answers may take to be written to slow readers."""
ABORT_SECONDS = 1.0
"""After a second signal, how long aborting what runs may take."""


class DrainingServer(uvicorn.Server):
    """A uvicorn server that keeps answering while it drains.

    The first SIGTERM or SIGINT stops admission (new requests get 503 and Retry-After, probes still answer),
    waits for the live ones up to ``drain_timeout`` seconds, aborts the rest with a reason and ends. The
    second ends at once; a third does not even wait for the event loop.
    """

    def __init__(self, config: uvicorn.Config, engine: AsyncEngine, drain_timeout: float) -> None:
        super().__init__(config)
        self._engine = engine
        self._drain_timeout = drain_timeout
        self._loop = asyncio.get_running_loop()
        self._drain_task: asyncio.Task[None] | None = None
        self._signals = 0
        self.killed_by = 0
        """The signal that ended it without a drain; 0 after an orderly end."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal; called by Python between two instructions of the main thread."""
        self._signals += 1
        if self._signals > 2:
            os._exit(128 + sig)
        self._loop.call_soon_threadsafe(self._stop, sig, self._signals)

    def _stop(self, sig: int, times: int) -> None:
        name = signal.Signals(sig).name
        if times == 1:
            logger.info(
                "%s: no new requests; finishing %d within %g s (again to end at once)",
                *(name, self._engine.live(), self._drain_timeout),
            )
            self._drain_task = self._loop.create_task(self._drain())
            return
        logger.warning("%s again: ending now, %d requests aborted", name, self._engine.live())
        self.killed_by = sig
        if self._drain_task is not None:
            self._drain_task.cancel()
        self._drain_task = self._loop.create_task(self._abort())

    async def _abort(self) -> None:
        try:
            # The streams still say why they end; they are given a moment, not a veto.
            await asyncio.wait_for(self._engine.close(), ABORT_SECONDS)
        except Exception:
            logger.exception("the engine could not be closed")
        finally:
            self.force_exit = self.should_exit = True

    async def _drain(self) -> None:
        try:
            aborted = await self._engine.drain(self._drain_timeout)
            if aborted:
                logger.warning("drain limit reached: %d requests aborted", aborted)
            else:
                logger.info("all requests finished")
        except Exception:
            logger.exception("the engine could not be drained")
        self.should_exit = True


async def serve(config: Config) -> int:
    """Run a server until a signal ends it.

    Returns:
        The signal that ended it without a drain; 0 after an orderly end.

    Raises:
        ConfigError, EngineDead: it could not start.
    """
    server_settings = config.server
    keys = key_store(server_settings)
    tls = tls_settings(server_settings)
    sock = open_socket(server_settings)
    try:
        engine = await AsyncEngine.start(config, on_boot_line=_say)
    except BaseException:
        close_socket(sock, server_settings)
        raise
    try:
        settings = uvicorn.Config(
            create_app(engine, config, keys),
            **http_settings(server_settings),
            **tls,
            timeout_graceful_shutdown=int(FLUSH_SECONDS),
        )
        settings.load()
        server = DrainingServer(settings, engine, server_settings.drain_timeout)
        sock.listen(2048)
        _say(banner(engine, served_name(config), Address.of(sock, secure=bool(tls))))
        http.settle_memory()
        async with Upkeep(server_settings, keys, settings.ssl):
            await server.serve(sockets=[sock])
        return server.killed_by
    finally:
        await engine.close()
        close_socket(sock, server_settings)


def run_server(config: Config) -> None:
    """Start the engine and serve HTTP until SIGTERM or SIGINT; see `DrainingServer` for the end.

    Raises:
        ConfigError: a setting, the address, the model folder or a checkpoint cannot be used.
        EngineDead: the engine failed to start; the text carries the cause.
        SystemExit: a second signal ended it before it was drained.
    """
    setup_logging(config.server.log_level, config.server.log_format, background=True)
    killed_by = http.run(serve(config))
    if killed_by:
        raise SystemExit(128 + killed_by)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk behind standard output is no reason not to serve
        print(text, flush=True)
