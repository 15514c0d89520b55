"""The process in which grammars are compiled: it imports the library once and forks a child per grammar.

A child has limits of memory and CPU time and an alarm, all enforced by the kernel, so that nothing a grammar
does to the library can last, grow or spread: the child is killed and the next grammar gets a fresh one within
milliseconds. Talks over standard input and output in length-prefixed msgpack; ends when its input ends.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import struct
from collections import deque
from typing import IO, TypeVar

import msgspec

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.backends import open_backend
from penstock.runtime.grammar.protocol import Backend, GrammarError
from penstock.runtime.grammar.trial import try_out
from penstock.runtime.grammar.vocabulary import Vocabulary

Message = TypeVar("Message")

MAX_RESULT = 32 * 2**20
"""Bytes of a compiled grammar; a larger one would hold up the engine that reads it."""
CHILDREN = 2
"""Grammars compiled at once, so that one that takes all its time does not hold up all others."""


class Limits(msgspec.Struct, frozen=True):
    """What one grammar may take."""

    cpu_seconds: float = 5.0
    memory_bytes: int = 2**30
    wall_factor: float = 4.0
    """Wall time allowed, in multiples of the CPU time."""


class Start(msgspec.Struct, frozen=True):
    """The first message to the worker."""

    backend: str
    vocabulary: Vocabulary
    limits: Limits


class Job(msgspec.Struct, frozen=True):
    """Compile this."""

    number: int
    spec: GrammarSpec


class Done(msgspec.Struct, frozen=True):
    """The outcome of a job; ``number`` -1 says that the backend cannot be used at all."""

    number: int
    compiled: bytes = b""
    error: str | None = None


def send(stream: IO[bytes], message: msgspec.Struct) -> None:
    """Write one message."""
    data = msgspec.msgpack.encode(message)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes], kind: type[Message]) -> Message | None:
    """Read one message; None at the end of the stream."""
    head = _exactly(stream, 8)
    if head is None:
        return None
    data = _exactly(stream, struct.unpack("<Q", head)[0])
    return None if data is None else msgspec.msgpack.decode(data, type=kind)


def _exactly(stream: IO[bytes], count: int) -> bytes | None:
    parts, left = [], count
    while left:
        piece = stream.read(left)
        if not piece:
            return None
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)


def main() -> None:
    """Serve until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the engine decides when to end
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    # Unbuffered: a message read ahead would be one that the selector does not see.
    source: IO[bytes] = os.fdopen(os.dup(0), "rb", buffering=0)
    start = receive(source, Start)
    if start is None:
        return
    try:
        backend = open_backend(start.backend, start.vocabulary)
        backend.compile(GrammarSpec(kind="json_object"))  # what is set up once is set up before the forks
    except Exception as error:
        send(out, Done(-1, b"", f"{type(error).__name__}: {error}"))
        return
    _Nursery(source, out, backend, start).run()


class _Nursery:
    """Forks children, reads their results, notices their ends."""

    def __init__(self, source: IO[bytes], out: IO[bytes], backend: Backend, start: Start) -> None:
        self._source, self._out, self._backend, self._start = source, out, backend, start
        self._selector = selectors.DefaultSelector()
        self._selector.register(source, selectors.EVENT_READ)
        self._waiting: deque[Job] = deque()
        self._children: dict[int, tuple[int, int, bytearray]] = {}
        """Result pipe -> process, job number, bytes read so far."""

    def run(self) -> None:
        """Serve until the input ends; children do not outlive it."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._source.fileno():
                    job = receive(self._source, Job)
                    if job is None:
                        for pid, _, _ in self._children.values():
                            os.kill(pid, signal.SIGKILL)
                        return
                    self._waiting.append(job)
                else:
                    self._read(key.fd)
            while self._waiting and len(self._children) < CHILDREN:
                self._fork(self._waiting.popleft())

    def _fork(self, job: Job) -> None:
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _raise_child(theirs, job, self._backend, self._start)
            finally:
                os._exit(3)
        os.close(theirs)
        self._children[ours] = (pid, job.number, bytearray())
        self._selector.register(ours, selectors.EVENT_READ)

    def _read(self, pipe: int) -> None:
        pid, number, data = self._children[pipe]
        piece = os.read(pipe, 1 << 20)
        data += piece
        if piece and len(data) <= MAX_RESULT + 1024:
            return
        if piece:
            os.kill(pid, signal.SIGKILL)
        self._selector.unregister(pipe)
        os.close(pipe)
        del self._children[pipe]
        _, status = os.waitpid(pid, 0)
        send(self._out, Done(number, *_verdict(bytes(data), status, self._start.limits)))


def _verdict(data: bytes, status: int, limits: Limits) -> tuple[bytes, str | None]:
    """Read a dead child: its result, or why there is none."""
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0 and data[:1] == b"+":
        return data[1:], None
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
        return b"", data[1:].decode("utf-8", "replace")
    if len(data) > MAX_RESULT:
        return b"", f"it is too large: compiled, it takes more than {MAX_RESULT >> 20} MiB"
    killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if killer in (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL):
        return b"", f"it is too complex: compiling it takes more than {limits.cpu_seconds:g} s"
    return (
        b"",
        f"it is too complex: compiling it takes too deep a recursion or over {limits.memory_bytes >> 20} MiB",
    )


def _raise_child(pipe: int, job: Job, backend: Backend, start: Start) -> None:
    """Compile under limits, write the result, and end this process."""
    limits = start.limits
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries quote the grammar, which is a user's text
        os.dup2(nowhere, stream)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.cpu_seconds * limits.wall_factor)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    cpu = int(used + limits.cpu_seconds + 0.999)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    room = _virtual_bytes() + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = b"+" + _compile(job.spec, backend, start.vocabulary)
    except GrammarError as error:
        if isinstance(error.__cause__, MemoryError) or "bad_alloc" in str(error):
            os._exit(4)
        answer = b"-" + str(error)[:2000].encode("utf-8", "replace")
    except MemoryError:
        os._exit(4)
    except Exception as error:
        answer = f"-it cannot be compiled: {type(error).__name__}: {error}"[:2000].encode("utf-8", "replace")
    with os.fdopen(pipe, "wb") as out:
        out.write(answer)
    os._exit(0)


def _compile(spec: GrammarSpec, backend: Backend, vocabulary: Vocabulary) -> bytes:
    compiled = backend.compile(spec)
    try_out(backend.load(spec, compiled), vocabulary.size, vocabulary.stop_ids)
    return compiled


def _virtual_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
