"""`run_server`: engine, sockets and signals around the application, from start to a drained end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from types import FrameType

import uvicorn

from penstock.config.settings import Config
from penstock.core.errors import ConfigError
from penstock.frontend.async_engine import AsyncEngine
from penstock.observe.logs import setup_logging
from penstock.server import http
from penstock.server.app import create_app
from penstock.server.banner import banner
from penstock.server.http import http_settings
from penstock.server.service import served_name

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


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet, so that a taken port is known before the model loads.

    Raises:
        ConfigError: the address cannot be used.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except OSError as exc:
        raise ConfigError("server.port", f"cannot listen on {host}:{port}: {exc.strerror or exc}") from exc
    sock.setblocking(False)
    return sock


async def serve(config: Config) -> int:
    """Run a server until a signal ends it.

    Returns:
        The signal that ended it without a drain; 0 after an orderly end.

    Raises:
        ConfigError, EngineDead: it could not start.
    """
    sock = bind(config.server.host, config.server.port)
    try:
        engine = await AsyncEngine.start(config, on_boot_line=_say)
    except BaseException:
        sock.close()
        raise
    try:
        app = create_app(engine, config)
        settings = uvicorn.Config(
            app,
            **http_settings(config.server),
            timeout_graceful_shutdown=int(FLUSH_SECONDS),
        )
        server = DrainingServer(settings, engine, config.server.drain_timeout)
        host, port = sock.getsockname()[:2]
        sock.listen(2048)
        _say(banner(engine, served_name(config), host, port))
        http.settle_memory()
        await server.serve(sockets=[sock])
        return server.killed_by
    finally:
        await engine.close()
        sock.close()


def run_server(config: Config) -> None:
    """Start the engine and serve HTTP until SIGTERM or SIGINT; see `DrainingServer` for the end.

    Raises:
        ConfigError: a setting, the address, the model folder or a checkpoint cannot be used.
        EngineDead: the engine failed to start; the text carries the cause.
        SystemExit: a second signal ended it before it was drained.
    """
    setup_logging(config.server.log_level)
    killed_by = http.run(serve(config))
    if killed_by:
        raise SystemExit(128 + killed_by)


def _say(text: str) -> None:
    print(text, flush=True)
