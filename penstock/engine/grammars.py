"""Grammars of live requests: compiled before a request is taken in, kept until its terminal event.

So the brain knows nothing of compiling, a grammar that cannot be used refuses its request like any other bad
field, and a sequence that was preempted finds its grammar again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any, Protocol

from penstock.core.errors import InvalidRequest, PenstockError
from penstock.core.output import Output
from penstock.core.request import GrammarSpec, RequestSpec


class Compiler(Protocol):
    """What compiles; `penstock.runtime.grammar.service.GrammarService` is meant."""

    def compile(self, spec: GrammarSpec) -> Future[Any]:
        """Return a future of the compiled grammar, shared by all who ask for the same."""
        ...


class GrammarDesk:
    """Holds on to the grammars of live requests.

    Args:
        compiler: compiles them.
    """

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._held: dict[str, object] = {}

    def compile(self, spec: RequestSpec) -> Future[Any] | None:
        """Have a request's grammar compiled; None if it has none."""
        return None if spec.grammar is None else self._compiler.compile(spec.grammar)

    def preload(self) -> None:
        """Have the compiler loaded in the background, so that the first grammar need not wait for that."""
        # The least grammar there is takes the whole way that all others will take. If it fails, so will
        # they, and tell whoever asks.
        self._compiler.compile(GrammarSpec(kind="json_object"))

    def take(self, spec: RequestSpec) -> None:
        """Hold on to a request's grammar; waits for it if nobody did before.

        Raises:
            InvalidRequest: it cannot be used; names the field.
            Overloaded: too many are being compiled.
        """
        future = self.compile(spec)
        if future is None or spec.grammar is None:
            return
        self._held[spec.id] = _result(spec.grammar.field, future)

    def let_go(self, request_id: str) -> None:
        """Forget a request that was refused."""
        self._held.pop(request_id, None)

    def landed(self, outputs: Iterable[Output]) -> None:
        """Forget the requests that have ended."""
        if self._held:
            for output in outputs:
                if output.finish is not None:
                    self._held.pop(output.request_id, None)


WINDOW = 32
"""Grammars compiled ahead of the one waited for."""


def compile_all(desk: GrammarDesk | None, specs: Iterable[RequestSpec]) -> list[Any]:
    """Compile the grammars of an offline job; returns them, to be kept while it runs.

    Raises:
        InvalidRequest: one of them cannot be used; names its field.
    """
    if desk is None:
        return []
    kept: list[Any] = []
    ahead: deque[tuple[str, Future[Any]]] = deque()
    for spec in specs:
        future = desk.compile(spec)
        if future is None or spec.grammar is None:
            continue
        ahead.append((spec.grammar.field, future))
        if len(ahead) >= WINDOW:
            kept.append(_result(*ahead.popleft()))
    kept += [_result(*one) for one in ahead]
    return kept


def _result(field: str, future: Future[Any]) -> Any:
    try:
        return future.result()
    except PenstockError:
        raise
    except Exception as error:
        raise InvalidRequest(field, str(error)) from error
