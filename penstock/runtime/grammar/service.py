"""The engine's side of compiling: ask, share, keep; nobody waits but who wants to.

One thread owns the worker process. Both start with the first grammar; a worker that dies or stops answering
is replaced, and what it was compiling is answered with an error.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import msgspec

from penstock.core.errors import Overloaded, PenstockError
from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.backends import open_backend
from penstock.runtime.grammar.cache import GrammarCache, Key, key_of
from penstock.runtime.grammar.protocol import Backend, Grammar, GrammarError
from penstock.runtime.grammar.vocabulary import Vocabulary
from penstock.runtime.grammar.worker import Done, Job, Limits, Start, receive, send

log = logging.getLogger(__name__)

MAX_TEXT = 512 * 1024
"""Characters of a grammar's text."""
MAX_PENDING = 64
"""Grammars that may wait to be compiled; more are turned away."""
_START_SECONDS = 60.0
"""What a worker may take to import its library, on top of what a grammar may take."""
_CLOSE_SECONDS = 1.0
"""How long closing waits for the thread. One that is importing cannot be interrupted, and ends after that."""

_ENTRY = "from penstock.runtime.grammar.worker import main; main()"
_THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


class _Ended(msgspec.Struct, frozen=True):
    """A worker's output ended."""

    worker: int


class GrammarService:
    """Compiles grammars for one model. All methods may be called from any thread.

    Args:
        backend: name of the backend; None refuses every grammar.
        read: returns the model's vocabulary; called once, when the first grammar comes.
        limits: of one grammar.
        cache_bytes: what compiled grammars that nobody uses may take.
    """

    def __init__(
        self,
        backend: str | None,
        read: Callable[[], Vocabulary],
        limits: Limits | None = None,
        cache_bytes: int = 2**28,
    ) -> None:
        self._name, self._read = backend, read
        self._limits = limits or Limits()
        self._cache = GrammarCache(cache_bytes)
        self._lock = threading.Lock()
        self._pending: dict[Key, Future[Grammar]] = {}
        self._thread: threading.Thread | None = None
        self._inbox: queue.SimpleQueue[GrammarSpec | Done | _Ended | None] = queue.SimpleQueue()
        self._vocabulary: Vocabulary | None = None
        self._backend: Backend | None = None
        self.starts = 0
        """Workers started so far."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The model's vocabulary; read when first asked for."""
        if self._vocabulary is None:
            self._vocabulary = self._read()
        return self._vocabulary

    def find(self, spec: GrammarSpec) -> Grammar | None:
        """Return a grammar that was compiled and is still kept or in use."""
        return self._cache.get(spec)

    def compile(self, spec: GrammarSpec) -> Future[Grammar]:
        """Have a grammar compiled, unless it is; requests for the same one share the work.

        Returns:
            A future of the grammar. It fails with GrammarError (the grammar cannot be used) or Overloaded.
        """
        with self._lock:
            future = self._pending.get(key_of(spec))
            if future is None:
                future = Future()
                self._begin(spec, future)
            return future

    def _begin(self, spec: GrammarSpec, future: Future[Grammar]) -> None:
        found = self._cache.get(spec)
        if found is not None:
            future.set_result(found)
        elif (why := self._refusal(spec)) is not None:
            future.set_exception(GrammarError(why))
        elif len(self._pending) >= MAX_PENDING:
            future.set_exception(Overloaded("too many grammars wait to be compiled", 1.0))
        else:
            self._pending[key_of(spec)] = future
            self._inbox.put(spec)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-grammar", daemon=True)
                self._thread.start()

    def _refusal(self, spec: GrammarSpec) -> str | None:
        if self._name is None:
            return "structured output is switched off (structured.grammar_backend)"
        if len(spec.text) > MAX_TEXT:
            return f"expected at most {MAX_TEXT} characters, got {len(spec.text)}"
        return self._cache.refusal(spec)

    def close(self) -> None:
        """End the worker and the thread; what is being compiled fails."""
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join(_CLOSE_SECONDS)

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        team: _Team | None = None
        while True:
            try:
                message = self._inbox.get(timeout=1.0 if team is not None and team.jobs else None)
            except queue.Empty:
                assert team is not None
                if time.monotonic() > team.deadline:
                    log.error("the grammar compiler does not answer; replacing it")
                    self._disband(team)
                    team = None
                continue
            try:
                team = self._handle(message, team)
            except GrammarError as error:
                log.warning("structured output is not available: %s", error)
                self._disband(team, f"structured output is not available: {error}")
                team = None
            except Exception as error:
                log.exception("the grammar compiler failed")
                self._disband(team, f"the grammar compiler failed: {type(error).__name__}")
                team = None
            if message is None:
                self._disband(team)
                return

    def _handle(self, message: GrammarSpec | Done | _Ended | None, team: _Team | None) -> _Team | None:
        if isinstance(message, GrammarSpec):
            if team is None:
                team = self._gather()
            team.ask(message)
        elif isinstance(message, Done) and team is not None:
            if message.number < 0:
                log.error("the grammar compiler cannot start: %s", message.error)
                self._disband(team, f"structured output is not available: {message.error}")
                return None
            spec = team.answered(message.number)
            if spec is not None:
                self._finish(spec, message)
        elif isinstance(message, _Ended) and team is not None and message.worker == team.number:
            log.error("the grammar compiler ended: status %s", team.process.poll())
            self._disband(team)
            return None
        return team

    def _gather(self) -> _Team:
        """Start a worker, and import the library here while it does so there."""
        self.starts += 1
        team = _Team(self.starts, self._name or "", self.vocabulary, self._limits, self._inbox)
        try:
            self._backend = self._backend or open_backend(self._name or "", self.vocabulary)
        except BaseException:
            team.close()
            raise
        return team

    def _finish(self, spec: GrammarSpec, done: Done) -> None:
        error = done.error
        grammar: Grammar | None = None
        if error is None and self._backend is not None:
            try:
                grammar = self._backend.load(spec, done.compiled)
            except GrammarError as refused:
                error = str(refused)
        if grammar is None:
            self._cache.refuse(spec, error or "")
            self._settle(spec, GrammarError(error or ""))
            return
        self._cache.put(spec, grammar)
        self._settle(spec, grammar)

    def _settle(self, spec: GrammarSpec, outcome: Grammar | Exception) -> None:
        with self._lock:
            future = self._pending.pop(key_of(spec), None)
        if future is None:
            return
        with contextlib.suppress(Exception):  # somebody may have cancelled it
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _disband(self, team: _Team | None, why: str = "the grammar compiler failed; try again") -> None:
        """End a worker and fail all that is pending."""
        if team is not None:
            team.close()
        with self._lock:
            failed, self._pending = self._pending, {}
        for future in failed.values():
            with contextlib.suppress(Exception):
                future.set_exception(PenstockError(why))


class _Team:
    """A worker process, the thread that reads it, and what it was asked."""

    def __init__(
        self,
        number: int,
        backend: str,
        vocabulary: Vocabulary,
        limits: Limits,
        inbox: queue.SimpleQueue[GrammarSpec | Done | _Ended | None],
    ) -> None:
        self.number = number
        self.jobs: dict[int, GrammarSpec] = {}
        self._asked = 0
        self._patience = limits.cpu_seconds * (limits.wall_factor + 1) + 10
        self.deadline = time.monotonic() + self._patience + _START_SECONDS
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _ENTRY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_THREADS, "PYTHONPATH": path},
        )
        threading.Thread(target=self._read, args=(inbox,), name="penstock-grammar-in", daemon=True).start()
        assert self.process.stdin is not None
        send(self.process.stdin, Start(backend, vocabulary, limits))

    def ask(self, spec: GrammarSpec) -> None:
        """Hand a grammar over."""
        self._asked += 1
        if not self.jobs:
            self.deadline = max(self.deadline, time.monotonic() + self._patience)
        self.jobs[self._asked] = spec
        assert self.process.stdin is not None
        send(self.process.stdin, Job(self._asked, spec))

    def answered(self, number: int) -> GrammarSpec | None:
        """Return what the answer is about."""
        self.deadline = time.monotonic() + self._patience
        return self.jobs.pop(number, None)

    def _read(self, inbox: queue.SimpleQueue[GrammarSpec | Done | _Ended | None]) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(Exception):
            while (done := receive(self.process.stdout, Done)) is not None:
                inbox.put(done)
        inbox.put(_Ended(self.number))

    def close(self) -> None:
        """End the process; its children end by their own limits at the latest."""
        self.process.kill()
        with contextlib.suppress(OSError):
            if self.process.stdin is not None:
                self.process.stdin.close()
        self.process.wait()
