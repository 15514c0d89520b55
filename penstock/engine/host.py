"""Where an engine runs: what `Supervisor` needs of a process or a thread that hosts one."""

from __future__ import annotations

from typing import Any, Protocol

import zmq

from penstock.engine.pulse import Pulse


class Handle(Protocol):
    """One incarnation of an engine."""

    pid: int
    pulse: Pulse
    """The engine's, to be read."""
    killable: bool
    """Whether `stop` can end it by force, so that another may take its place."""

    async def exited(self) -> str:
        """Wait for its end and say how it ended, in one phrase ("was killed by SIGKILL")."""
        ...

    def is_alive(self) -> bool:
        """Whether it still runs."""
        ...

    def dump(self) -> None:
        """Have the stacks of its threads written to standard error, for whoever looks into a hang."""
        ...

    async def stop(self, grace: float) -> None:
        """Wait ``grace`` seconds for it to end by itself, then end it by force. Idempotent."""
        ...


class Host(Protocol):
    """Starts incarnations."""

    context: zmq.Context[zmq.Socket[Any]]
    """Shared by both ends of ``inproc://`` addresses."""

    async def spawn(self) -> tuple[str, Handle]:
        """Start one and return the address of its port; it then waits for the boot message."""
        ...

    def prepare(self, build: str) -> None:
        """Make the next `spawn` quick, if it can; ``build`` is the import string of the builder."""
        ...

    def close(self) -> None:
        """Release what all incarnations shared; idempotent."""
        ...
