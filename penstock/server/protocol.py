"""uvicorn's HTTP protocol with bounds on what one connection may cost: bytes, headers, requests and time.

What uvicorn leaves open: a head may be endless or never end, a body may stop half-way, an answer may never be
read, and a connection that is refused in the middle of its body loses the refusal to a reset.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.server.errors import APIError

logger = logging.getLogger("penstock.server")

UNREAD = "slow client"
"""Why a request ended whose client did not read."""
ON_UNREAD = "on_unread"
"""Name in the scope's state of what is called before such a client is dropped."""
SURPLUS = "surplus"
"""Name in the scope's state of what is set when the connection is one too many."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one connection may cost."""

    read_timeout: float = 60.0
    """Seconds for the head of a request, and for a pause within its body; 0 is for ever."""
    write_timeout: float = 60.0
    """Seconds for which what was written may stay unread once the buffers are full; 0 is for ever."""
    head_bytes: int = 64 * 1024
    """Request line and headers together."""
    headers: int = 128
    pipelined: int = 32
    """Requests that may wait behind the one that is answered."""
    send_buffer: int = 256 * 1024
    """Bytes that the kernel may hold for a client that does not read."""
    connections: int = 0
    """Open connections above which further ones are told so; 0 sets no bound."""
    linger: float = 5.0
    """Seconds for which the rest of a refused body is read and thrown away."""


class _Refused(Exception):
    """Ends the parser's work; the refusal is kept by the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Use `bounded` to fix the bounds.

    Args:
        args: as uvicorn passes them.
    """

    bounds = Bounds()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = False
        self._in_body = False
        self._refusal: APIError | None = None
        self._read_by: float | None = None
        """Loop time by which the client must have sent something; None while nothing is due."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._lingering = False
        self._surplus = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with a bounded send buffer and a limit on the time for the first head."""
        super().connection_made(_Lingering(transport, self))  # type: ignore[arg-type]
        self._surplus = self._crowded()
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.bounds.send_buffer)
        self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timers."""
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)
        self.transport.release()  # type: ignore[attr-defined]

    # Reading

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse a head that grows too large before it is complete."""
        if self._lingering:
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > self.bounds.head_bytes and not self.transport.is_closing():
                self._refuse(_too_large("head"))
        elif self._in_body:
            self._expect_more()

    def on_message_begin(self) -> None:
        """See uvicorn."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_more()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count headers and their bytes."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if len(self.headers) > self.bounds.headers or self._head_bytes > self.bounds.head_bytes:
            self._refusal = _too_large("number of headers" if self._head_bytes < 1024 else "head")
            raise _Refused

    def on_headers_complete(self) -> None:
        """See uvicorn; drop a client that piles up requests."""
        self._in_head, self._in_body, self._head_bytes = False, True, 0
        if len(self.pipeline) >= self.bounds.pipelined:
            self._refusal = APIError(400, "Too many requests were sent ahead of their answers.")
            raise _Refused
        # Those who were here first are not told off for those who came later.
        if self._surplus and self._crowded():
            self.scope["state"][SURPLUS] = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """See uvicorn."""
        self._in_body = False
        self._read_by = None
        super().on_message_complete()

    def _crowded(self) -> bool:
        return 0 < self.bounds.connections < len(self.connections)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or was refused by the callbacks, in the shape of all our errors."""
        self._refuse(self._refusal or APIError(400, msg, code="invalid_http"))

    def _refuse(self, error: APIError) -> None:
        """Answer in the application's place and close."""
        if self._in_body and self.cycle is not None and not (self.cycle.response_started or self.pipeline):
            cycle, self.cycle = self.cycle, None  # type: ignore[assignment]
            cycle.disconnected = True
            cycle.message_event.set()
        if self.cycle is None or self.cycle.response_complete:
            body = error.body()
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[error.status] + head % len(body) + body)
        # Otherwise a request is being answered on this connection, and an answer must not get between.
        self._in_body = True  # whatever comes is thrown away
        self.transport.close()

    def _expect_more(self) -> None:
        if not self.bounds.read_timeout:
            return
        self._read_by = self.loop.time() + self.bounds.read_timeout
        if self._read_timer is None:
            self._read_timer = self.loop.call_at(self._read_by, self._check_reading)

    def _check_reading(self) -> None:
        self._read_timer = None
        if self._read_by is None or self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is us who do not read
            self._expect_more()
        elif self._read_by > self.loop.time():
            self._read_timer = self.loop.call_at(self._read_by, self._check_reading)
        elif not (self._in_head or self._in_body):
            self.transport.close()  # a connection that was never used
        else:
            self._give_up_reading()

    def _give_up_reading(self) -> None:
        text = f"The request was not complete after {self.bounds.read_timeout:g} s without progress."
        logger.info("giving up on a request that does not arrive", extra={"client": self.client})
        self._refuse(APIError(408, text, code="request_timeout"))

    # Writing

    def pause_writing(self) -> None:
        """The client does not read as fast as we write: it has a while to catch up."""
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        """It caught up."""
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def on_response_complete(self) -> None:
        """See uvicorn; the end of an answer must be read in time, too."""
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch_writes()

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn; closing would wait for a client that never reads."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def _watch_writes(self) -> None:
        if self._write_timer is None and self.bounds.write_timeout:
            self._write_timer = self.loop.call_later(self.bounds.write_timeout, self._check_writing)

    def _check_writing(self) -> None:
        self._write_timer = None
        size = self.transport.get_write_buffer_size()
        if not size:
            return
        if self.cycle is not None:
            self.cycle.scope["state"].get(ON_UNREAD, _nothing)()
        logger.warning(
            "a client left %d bytes of its answer unread for %g s; dropping it",
            *(size, self.bounds.write_timeout),
            extra={"client": self.client},
        )
        self.transport.abort()

    # Closing

    def linger(self, transport: asyncio.Transport) -> bool:
        """Stop answering but go on reading for a while, if the client still sends; return whether it does.

        Closing at once would reset the connection, and the client would lose the answer it has not read.
        """
        if self._lingering or not (self._in_body or self._in_head):
            return False
        self._lingering, self._read_by = True, None
        if transport.can_write_eof():
            transport.write_eof()
        self.flow.read_paused = True  # whatever was paused must flow now
        self.flow.resume_reading()
        self.loop.call_later(self.bounds.linger, transport.abort)
        return True


class _Lingering:
    """The transport of a connection, whose `close` is gentle to clients that still send."""

    def __init__(self, transport: Any, protocol: BoundedProtocol) -> None:
        self._transport = transport
        self._protocol: BoundedProtocol | None = protocol
        self._closing = False
        self.write = transport.write

    def close(self) -> None:
        """Close, now or when the client has stopped sending."""
        if not self._closing:
            self._closing = True
            if self._protocol is not None and self._protocol.linger(self._transport):
                return
        self._transport.close()

    def release(self) -> None:
        """Let go of the connection, which is lost: nothing must keep the two alive but those who use them."""
        self._protocol = None

    def is_closing(self) -> bool:
        """Whether nothing more will be written."""
        return self._closing or bool(self._transport.is_closing())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def bounded(bounds: Bounds) -> type[BoundedProtocol]:
    """Return the protocol class with these bounds, as uvicorn's ``http`` setting takes it."""
    return type("BoundedProtocol", (BoundedProtocol,), {"bounds": bounds})


def _nothing() -> None: ...


def _too_large(what: str) -> APIError:
    return APIError(
        431, f"The {what} of the request is larger than this server takes.", code="head_too_large"
    )
