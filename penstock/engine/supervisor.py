"""Keeps one engine running: boots it, notices its end, restarts it within bounds, and tells the truth."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from penstock.config.settings import Config
from penstock.engine.host import Handle, Host
from penstock.engine.ipc import ClientPort
from penstock.engine.messages import (
    Boot,
    BootLine,
    Died,
    EngineDead,
    EngineInfo,
    FromEngine,
    Health,
    Ready,
    Shutdown,
    ToEngine,
    error_of,
)
from penstock.engine.watchdog import Watchdog

log = logging.getLogger(__name__)


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how fast a failed engine is started again."""

    most: int = 5
    """Restarts within ``window`` before giving up; 0 never restarts."""
    window: float = 300.0
    """Seconds over which restarts are counted."""
    first_delay: float = 0.1
    """Seconds before the first restart; doubles with each further one inside the window."""
    longest_delay: float = 10.0


class Incarnation:
    """A booted or booting engine and the connection to it.

    Args:
        port: our end of the connection.
        handle: its process or thread.
        on_message: receives everything after `Ready` except `Died`.
    """

    def __init__(self, port: ClientPort, handle: Handle, on_message: Callable[[FromEngine], None]) -> None:
        self._port = port
        self.handle = handle
        self._on_message = on_message
        self._words: Died | None = None
        self._closed = False
        self.stuck = False
        """It hung, running or starting: it is still there, and will not end by itself."""

    @property
    def lost(self) -> bool:
        """Whether it hangs where nothing can end it."""
        return self.stuck and not self.handle.killable

    def send(self, message: ToEngine) -> None:
        """Send; dropped once closed."""
        if not self._closed:
            self._port.send(message)

    async def boot(self, boot: Boot, on_line: Callable[[str], None]) -> EngineInfo:
        """Send the boot message and wait for readiness, as long as the settings allow.

        Raises:
            ConfigError: the engine refused its settings.
            EngineDead: it failed otherwise, or hangs; the text carries the cause.
        """
        limit = boot.config.server.start_timeout
        try:
            async with asyncio.timeout(limit or None) as bound:
                return await self._boot(boot, on_line)
        except TimeoutError:
            if not bound.expired():
                raise
            self.stuck = True
            raise EngineDead(
                f"the engine was not ready {limit:g} s after its start (server.start_timeout)"
            ) from None

    async def _boot(self, boot: Boot, on_line: Callable[[str], None]) -> EngineInfo:
        self.send(boot)
        gone = asyncio.ensure_future(self.handle.exited())
        try:
            while True:
                news = asyncio.ensure_future(self._port.receive())
                await asyncio.wait({news, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not news.done():
                    # Last words may still be on their way when the process is gone already.
                    await asyncio.wait({news}, timeout=0.5)
                if not news.done():
                    news.cancel()
                    raise EngineDead(f"the engine {gone.result()} while starting")
                match news.result():
                    case Ready(info):
                        return info
                    case BootLine(text):
                        on_line(text)
                    case Died() as words:
                        raise self._boot_failure(words)
                    case _:
                        log.debug("unexpected message while booting")
        finally:
            gone.cancel()

    @staticmethod
    def _boot_failure(words: Died) -> Exception:
        if words.refusal is not None:
            return error_of(words.refusal)
        log.error("the engine failed to start:\n%s", words.traceback)
        return EngineDead(f"the engine failed to start: {words.cause}")

    async def down(self, watchdog: Watchdog) -> str:
        """Pass messages on until the engine is gone or stuck, and return the cause in one sentence."""
        reader = asyncio.ensure_future(self._read())
        gone = asyncio.ensure_future(self.handle.exited())
        stuck = asyncio.ensure_future(watchdog.stuck(self.handle.pulse))
        try:
            await asyncio.wait({reader, gone, stuck}, return_when=asyncio.FIRST_COMPLETED)
            if stuck.done() and not (reader.done() or gone.done()):
                self.stuck = True
                return f"the engine {stuck.result()}"
            if not reader.done():
                # What it sent before it ended (outputs, last words) may still be in the socket.
                await asyncio.wait({reader}, timeout=0.2)
            if self._words is not None:
                return f"the engine failed with {self._words.cause}"
            if reader.done() and (error := reader.exception()) is not None:
                return f"the engine sent what could not be read ({error})"
            return f"the engine {await gone}"
        finally:
            for task in (reader, gone, stuck):
                task.cancel()

    async def _read(self) -> None:
        while True:
            message = await self._port.receive()
            if isinstance(message, Died):
                self._words = message
                return
            self._on_message(message)

    async def close(self, grace: float) -> None:
        """Ask it to end, wait, and make sure; idempotent."""
        if self._closed:
            return
        if self.stuck:
            self.handle.dump()
            grace = min(grace, 0.2)  # for the dump; it hears nothing
        self.send(Shutdown())
        self._closed = True
        await self.handle.stop(grace)
        self._port.close()


class Supervisor:
    """Owns the current incarnation.

    Args:
        host: where engines run.
        config: what they are built from.
        build: import string of the builder.
        on_message: receives the engine's messages.
        on_down: called with the cause when a running engine is gone, before any restart.
        policy: bounds of restarting.
        watchdog: tells when a running engine is stuck.
        lease_timeout: passed on to the engine.
    """

    def __init__(
        self,
        host: Host,
        config: Config,
        build: str,
        *,
        on_message: Callable[[FromEngine], None],
        on_down: Callable[[str], None],
        policy: RestartPolicy,
        watchdog: Watchdog,
        lease_timeout: float,
    ) -> None:
        self._host = host
        self._boot = Boot(config, build, lease_timeout)
        self._on_message = on_message
        self._on_down = on_down
        self._policy = policy
        self._watchdog = watchdog
        self._current: Incarnation | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._recent: deque[float] = deque()
        self._on_line: Callable[[str], None] = lambda line: None
        self._lost = False
        """The last one hangs and cannot be ended: another must not take its place."""
        self.health = Health(state="starting")

    async def start(self, on_line: Callable[[str], None]) -> EngineInfo:
        """Boot the first incarnation; a failure here is final.

        Raises:
            ConfigError, EngineDead: as `Incarnation.boot`.
        """
        self._on_line = on_line
        try:
            info = await self._launch()
        except BaseException as error:
            self.health = Health(state="dead", cause=str(error))
            raise
        self._watcher = asyncio.create_task(self._watch(), name="penstock-supervisor")
        return info

    def send(self, message: ToEngine) -> None:
        """Send to the current incarnation; dropped while there is none."""
        if self._current is not None:
            self._current.send(message)

    @property
    def pid(self) -> int:
        """Process id of the current incarnation, 0 while there is none."""
        return self._current.handle.pid if self._current is not None else 0

    async def close(self, grace: float) -> None:
        """End the engine for good; idempotent."""
        self.health = msgspec.structs.replace(self.health, state="closed")
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._drop(grace)
        self._host.close()

    async def _launch(self) -> EngineInfo:
        address, handle = await self._host.spawn()
        incarnation = Incarnation(ClientPort(self._host.context, address), handle, self._on_message)
        try:
            info = await incarnation.boot(self._boot, self._on_line)
        except BaseException:
            self._lost = incarnation.lost
            await incarnation.close(0.5)
            raise
        self._current = incarnation
        self.health = msgspec.structs.replace(self.health, state="ready")
        if self._policy.most and self._boot.config.server.warm_spare:
            self._host.prepare(self._boot.build)
        return info

    async def _drop(self, grace: float) -> None:
        current, self._current = self._current, None
        if current is not None:
            await current.close(grace)

    async def _watch(self) -> None:
        while self._current is not None:
            failed = self._current
            cause = await failed.down(self._watchdog)
            log.error("%s", cause)
            self._lost = failed.lost
            self._set("dead" if self._lost else "restarting", cause)
            self._on_down(cause)
            await self._drop(1.0)
            await self._restart(cause)

    async def _restart(self, cause: str) -> None:
        """Try until one boots, the policy's bound is reached, or one hangs that cannot be ended."""
        while not self._lost and (delay := self._delay()) is not None:
            await asyncio.sleep(delay)
            try:
                await self._launch()
            except Exception as error:
                cause = str(error)
                log.error("restarting the engine failed: %s", cause)
                self._set("restarting", cause)
                continue
            self.health = Health(state="ready", cause=cause, restarts=self.health.restarts + 1)
            log.warning("the engine was restarted (restart %d)", self.health.restarts)
            return
        self._set("dead", cause)
        if self._lost:
            log.error("an engine in a thread cannot be ended by force; restart the server")
            return
        log.error("giving up on the engine after %d restarts: %s", self.health.restarts, cause)

    def _delay(self) -> float | None:
        """Seconds to wait before the next attempt, or None when there have been too many."""
        now = time.monotonic()
        while self._recent and now - self._recent[0] > self._policy.window:
            self._recent.popleft()
        if len(self._recent) >= self._policy.most:
            return None
        self._recent.append(now)
        return min(self._policy.first_delay * float(2 ** (len(self._recent) - 1)), self._policy.longest_delay)

    def _set(self, state: Any, cause: str) -> None:
        self.health = Health(state=state, cause=cause, restarts=self.health.restarts)
