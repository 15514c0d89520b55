"""The engine in a thread of the API process (``--inproc``): same loop, same messages, no second process."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import itertools
import logging
import os
import threading
from typing import Any

import zmq

from penstock.engine.ipc import EnginePort
from penstock.engine.pulse import Pulse
from penstock.engine.serve import serve

log = logging.getLogger(__name__)

_numbers = itertools.count(1)


class ThreadHandle:
    """A daemon thread that hosts an engine. It cannot be killed, only asked to end."""

    def __init__(self, port: EnginePort) -> None:
        self.pid = os.getpid()
        self.pulse = Pulse()
        self.killable = False
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(port,), name="penstock-engine", daemon=True)
        self._thread.start()

    def _run(self, port: EnginePort) -> None:
        try:
            serve(port, self.pulse)
        finally:
            try:
                self._loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                log.debug("the event loop closed before its engine thread")

    async def exited(self) -> str:
        """Wait for its end."""
        await self._ended.wait()
        return "ended"

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def dump(self) -> None:
        """Write the stacks of all threads of this process to standard error."""
        with contextlib.suppress(Exception):  # standard error may be anything, or nothing
            faulthandler.dump_traceback()

    async def stop(self, grace: float) -> None:
        """Wait ``grace`` seconds for it to end; then leave it behind with a warning."""
        try:
            await asyncio.wait_for(self._ended.wait(), grace)
        except TimeoutError:
            log.warning("the engine thread did not end within %.1f s and is left behind", grace)


class ThreadHost:
    """Starts engine threads."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context.instance()

    async def spawn(self) -> tuple[str, ThreadHandle]:
        """Start a thread; it waits for the boot message at the returned address."""
        address = f"inproc://penstock-engine-{next(_numbers)}"
        return address, ThreadHandle(EnginePort(self.context, address))

    def prepare(self, build: str) -> None:
        """Nothing: this process has imported all that there is."""

    def close(self) -> None:
        """Nothing to remove; the context is the process's own."""
