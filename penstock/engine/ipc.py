"""Sockets and encoding of the process boundary: a ZMQ ROUTER on the engine's side, DEALERs on the API's.

Both sides send without blocking (queues are unlimited; what bounds them is that the API side merges and
the engine cancels what no lease covers). Messages of one connection arrive in the order they were sent.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import msgspec
import zmq
import zmq.asyncio

from penstock.engine.messages import FromEngine, ToEngine

_encoder = msgspec.msgpack.Encoder()
_to_engine: msgspec.msgpack.Decoder[ToEngine] = msgspec.msgpack.Decoder(ToEngine)
_from_engine: msgspec.msgpack.Decoder[FromEngine] = msgspec.msgpack.Decoder(FromEngine)

_FLUSH_MS = 2000
"""How long a closing socket tries to deliver its last words."""


def _unlimited(socket: zmq.Socket[Any]) -> None:
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.LINGER, _FLUSH_MS)


class EnginePort:
    """The engine's end; one thread owns it.

    Args:
        context: shared with the clients for ``inproc://`` addresses.
        address: where to bind (``ipc://`` or ``inproc://``).
        watch: a file descriptor whose becoming readable ends `wait` too (end of file: the parent is gone).
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], address: str, watch: int | None = None
    ) -> None:
        self._socket = context.socket(zmq.ROUTER)
        _unlimited(self._socket)
        self._socket.bind(address)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._bell, self._clapper = os.pipe()
        os.set_blocking(self._clapper, False)
        self._poller.register(self._bell, zmq.POLLIN)
        self._watch = watch
        if watch is not None:
            self._poller.register(watch, zmq.POLLIN)

    def wait(self, milliseconds: int | None) -> bool:
        """Block until a message is there, the watched descriptor fires, or the time (None: for ever) is up.

        Returns:
            Whether the watched descriptor fired.
        """
        fired = [source for source, _ in self._poller.poll(milliseconds)]
        if self._bell in fired:
            os.read(self._bell, 4096)
        return self._watch in fired

    def wake(self) -> None:
        """End a `wait` that blocks; may be called from any thread, at any time."""
        with contextlib.suppress(OSError):  # full: it rings already; closed: nobody waits
            os.write(self._clapper, b"x")

    def receive(self) -> tuple[bytes, ToEngine] | None:
        """Return the next message and who sent it, or None; never blocks.

        Raises:
            msgspec.DecodeError: the message is none of ours.
        """
        try:
            peer, data = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return peer, _to_engine.decode(data)

    def send(self, peer: bytes, message: FromEngine) -> None:
        """Send to one client; dropped if it has gone away."""
        self._socket.send_multipart((peer, _encoder.encode(message)), zmq.NOBLOCK)

    def close(self) -> None:
        """Close the socket; what was sent is still delivered."""
        self._socket.close()
        clapper, self._clapper = self._clapper, -1
        if clapper >= 0:
            os.close(clapper)
            os.close(self._bell)


class ClientPort:
    """One client's end, for asyncio; the thread of the event loop owns it."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        self._socket: zmq.asyncio.Socket = zmq.asyncio.Socket(context, zmq.DEALER)
        _unlimited(self._socket)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)
        self._socket.connect(address)

    def send(self, message: ToEngine) -> None:
        """Send; never blocks."""
        self._socket.send(_encoder.encode(message))

    async def receive(self) -> FromEngine:
        """Return the next message."""
        return _from_engine.decode(await self._socket.recv())

    def close(self) -> None:
        """Close the socket; what the engine has not taken yet is dropped."""
        self._socket.close(linger=0)
