"""The engine in a process of its own: the child's entry point, and how the parent starts and watches it.

Nothing is ever written to the child's standard input; its end of file tells the child that the parent is
gone, however it went. The settings come as the first message over the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
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
from typing import Any, NamedTuple

import zmq

from penstock.config.settings import Config
from penstock.engine.build import preload_builder
from penstock.engine.ipc import EnginePort
from penstock.engine.pulse import Pulse, attach, make_shared
from penstock.engine.serve import serve
from penstock.engine.spin import SPIN_LESS
from penstock.observe.logs import setup_logging

log = logging.getLogger(__name__)

_ENTRY = "import sys; from penstock.engine.process import child_main; child_main(*sys.argv[1:])"


def child_main(address: str, pulse: str, preload: str) -> None:
    """Run an engine until it is told to end, fails, or the parent is gone; then end the process.

    Args:
        address: ``ipc://`` address to bind.
        pulse: descriptor of the memory of its `Pulse`.
        preload: import string of the builder to import before the boot message comes; empty waits for that.
    """
    faulthandler.enable()  # a crash in native code tells where
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)
    # The parent decides when to end: signals sent to the whole group (Ctrl-C, service managers) must not
    # cut off the requests that it is draining.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    context: zmq.Context[Any] = zmq.Context()
    port = EnginePort(context, address, watch=sys.stdin.fileno())
    setup_logging()
    if preload:
        _preload(preload)
    done = serve(port, attach(int(pulse)), _log_as_configured, _settle_memory)
    context.term()  # delivers the last words
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Nothing is left to save; taking gigabytes of weights and libraries apart object by object only delays.
    os._exit(0 if done else 1)


def _log_as_configured(config: Config) -> None:
    setup_logging(config.server.log_level, config.server.log_format, background=True)


def _settle_memory() -> None:
    """Keep what lives for ever (weights, code) out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def _preload(build: str) -> None:
    """Import what building will need, in a thread of lower priority: others are being served. Not the lowest:
    on a crowded machine it would never be done."""

    def load() -> None:
        with contextlib.suppress(Exception):  # no such call elsewhere than on Linux; imports fail later again
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
        with contextlib.suppress(Exception):
            preload_builder(build)

    thread = threading.Thread(target=load, name="penstock-preload")
    thread.start()
    thread.join()


class ProcessHandle:
    """A child process that hosts an engine."""

    killable = True

    def __init__(self, process: subprocess.Popen[bytes], pulse: Pulse) -> None:
        self._process = process
        self.pid = process.pid
        self.pulse = pulse
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

    def dump(self) -> None:
        """Have the child write the stacks of its threads to standard error."""
        if hasattr(signal, "SIGUSR1") and self.is_alive():
            self._process.send_signal(signal.SIGUSR1)

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


class _Child(NamedTuple):
    """A process that waits for its boot message."""

    process: subprocess.Popen[bytes]
    address: str
    pulse: Pulse


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
        self._spare: _Child | None = None

    async def spawn(self) -> tuple[str, ProcessHandle]:
        """Start a child, or take the spare; it waits for the boot message at the returned address."""
        spare, self._spare = self._spare, None
        if spare is None or spare.process.poll() is not None:
            spare = self._start()
        return spare.address, ProcessHandle(spare.process, spare.pulse)

    def prepare(self, build: str) -> None:
        """Start a spare that has imported what the builder needs; most of a restart's time is that."""
        if self._spare is None or self._spare.process.poll() is not None:
            try:
                self._spare = self._start(build)
            except OSError as error:  # no memory, no processes: serving comes first
                log.warning("no spare engine process: %s", error)

    def _start(self, preload: str = "") -> _Child:
        self._count += 1
        # A fresh address each time: nothing of a dead incarnation can reach the next.
        address = f"ipc://{Path(self._folder.name) / f'engine-{self._count}'}"
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        fd, pulse = make_shared()
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _ENTRY, address, str(fd), preload],
                stdin=subprocess.PIPE,
                pass_fds=(fd,),
                env={**SPIN_LESS, **os.environ, **self._env, "PYTHONPATH": path},
            )
        finally:
            os.close(fd)
        return _Child(process, address, pulse)

    def close(self) -> None:
        """End the spare and remove the sockets' folder."""
        if self._spare is not None:
            self._spare.process.kill()
            self._spare.process.wait()
            assert self._spare.process.stdin is not None
            self._spare.process.stdin.close()
            self._spare = None
        self._folder.cleanup()
        self.context.destroy(linger=0)
