"""The engine in a process of its own: the child's entry point, and how the parent starts and watches it.

Nothing is ever written to the child's standard input; its end of file tells the child that the parent is
gone, however it went. The settings come as the first message over the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from penstock.engine.ipc import EnginePort
from penstock.engine.serve import serve
from penstock.engine.spin import SPIN_LESS
from penstock.observe.logs import setup_logging

log = logging.getLogger(__name__)

_ENTRY = "import sys; from penstock.engine.process import child_main; child_main(sys.argv[1])"


def child_main(address: str) -> None:
    """Run an engine until it is told to end, fails, or the parent is gone; then end the process.

    Args:
        address: ``ipc://`` address to bind.
    """
    # The parent decides when to end: signals sent to the whole group (Ctrl-C, service managers) must not
    # cut off the requests that it is draining.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    context: zmq.Context[Any] = zmq.Context()
    port = EnginePort(context, address, watch=sys.stdin.fileno())
    setup_logging()
    done = serve(port, lambda config: setup_logging(config.server.log_level), _settle_memory)
    context.term()  # delivers the last words
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to save; taking gigabytes of weights and libraries apart object by object only delays.
    os._exit(0 if done else 1)


def _settle_memory() -> None:
    """Keep what lives for ever (weights, code) out of every later garbage collection."""
    gc.collect()
    gc.freeze()


class ProcessHandle:
    """A child process that hosts an engine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self._ended = asyncio.Event()
        # A daemon thread and not the loop's executor: a program that forgets to close must still be able
        # to exit.
        waiter = threading.Thread(target=self._wait, args=(asyncio.get_running_loop(),), daemon=True)
        waiter.start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(self._ended.set)

    async def exited(self) -> str:
        """Wait for its end and say how it ended."""
        await self._ended.wait()
        code = self._process.wait()
        if code >= 0:
            return f"exited with status {code}"
        name = signal.Signals(-code).name
        hint = ", as happens when memory runs out" if -code == signal.SIGKILL else ""
        return f"was killed by {name}{hint}"

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    async def stop(self, grace: float) -> None:
        """Wait ``grace`` seconds, then kill it."""
        try:
            await asyncio.wait_for(self._ended.wait(), grace)
        except TimeoutError:
            log.info("the engine process %d did not end within %.1f s; killing it", self.pid, grace)
            self._process.kill()
            await self._ended.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


class ProcessHost:
    """Starts engine processes with this interpreter and this ``sys.path``.

    Args:
        env: environment variables set for the child besides the parent's (thread counts...).
    """

    def __init__(self, env: Mapping[str, str] | None = None) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self._env = dict(env or {})
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True)
        self._count = 0

    async def spawn(self) -> tuple[str, ProcessHandle]:
        """Start a child; it waits for the boot message at the returned address."""
        self._count += 1
        # A fresh address each time: nothing of a dead incarnation can reach the next.
        address = f"ipc://{Path(self._folder.name) / f'engine-{self._count}'}"
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY, address],
            stdin=subprocess.PIPE,
            env={**SPIN_LESS, **os.environ, **self._env, "PYTHONPATH": path},
        )
        return address, ProcessHandle(process)

    def close(self) -> None:
        """Remove the sockets' folder."""
        self._folder.cleanup()
        self.context.destroy(linger=0)
