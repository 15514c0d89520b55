"""Keeps a request that kills the engine from killing it again and again.

Nobody knows which of the live requests brought an engine down. So each is counted: one that was live at
several deaths is a suspect, and suspects are admitted one at a time. The engine dying over a lone suspect
convicts it, and it is refused from then on; one that ends well is cleared.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Sequence

import msgspec

from penstock.core.errors import InvalidRequest
from penstock.core.output import Finish, FinishReason
from penstock.core.request import RequestSpec


class _Record(msgspec.Struct):
    """What is held against requests that ask for the same."""

    deaths: int
    last: float
    """Seconds, of the last death."""
    convicted: bool = False
    cause: str = ""


class Quarantine:
    """Judges requests by what became of the engine while they were live. Belongs to one event loop.

    Args:
        bar: deaths that make a suspect.
        window: seconds after which a death is forgotten.
        now: source of monotonic seconds.
    """

    def __init__(
        self, bar: int = 2, window: float = 600.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._bar = bar
        self._window = window
        self._now = now
        self._live: dict[str, RequestSpec] = {}
        self._records: dict[Hashable, _Record] = {}
        self._alone = asyncio.Lock()
        self._holders: set[str] = set()
        """Ids of the suspect that runs now."""

    async def enter(self, specs: Sequence[RequestSpec]) -> None:
        """Take sequences that are about to be submitted; a suspect waits until no other runs.

        Raises:
            InvalidRequest: it is known to kill the engine.
        """
        if self._records and self._is_suspect(specs):
            await self._alone.acquire()
            try:
                self._is_suspect(specs)  # the one before may have been its like
            except InvalidRequest:
                self._alone.release()
                raise
            self._holders = {spec.id for spec in specs}
        self._live.update((spec.id, spec) for spec in specs)

    def _is_suspect(self, specs: Iterable[RequestSpec]) -> bool:
        suspect, now = False, self._now()
        for name in {_name(spec) for spec in specs}:
            record = self._records.get(name)
            if record is None:
                continue
            if now - record.last > self._window:
                del self._records[name]
                continue
            if record.convicted:
                text = (
                    f"the engine failed each time it ran this request, which is refused now: {record.cause}"
                )
                raise InvalidRequest("prompt", text)
            suspect = suspect or record.deaths >= self._bar
        return suspect

    def left(self, request_id: str, finish: Finish | None = None) -> None:
        """Note that a sequence ended, or was not admitted."""
        spec = self._live.pop(request_id, None)
        if spec is None:
            return
        if finish is not None and self._records and finish.reason in (FinishReason.STOP, FinishReason.LENGTH):
            self._records.pop(_name(spec), None)
        self._free(request_id)

    def died(self, cause: str) -> None:
        """Note the death of the engine with all that was live."""
        now = self._now()
        self._records = {
            name: record for name, record in self._records.items() if now - record.last <= self._window
        }
        held = {_name(self._live[request_id]) for request_id in self._holders if request_id in self._live}
        for name in {_name(spec) for spec in self._live.values()}:
            record = self._records.setdefault(name, _Record(0, now))
            record.deaths, record.last = record.deaths + 1, now
            if name in held:
                record.convicted, record.cause = True, cause
        self._live.clear()
        for request_id in list(self._holders):
            self._free(request_id)

    def _free(self, request_id: str) -> None:
        if request_id in self._holders:
            self._holders.discard(request_id)
            if not self._holders:
                self._alone.release()


def _name(spec: RequestSpec) -> Hashable:
    """Return what requests that ask for the same have in common; seeds and ids differ between retries."""
    return hash((spec.prompt_ids, spec.sampling.max_tokens, spec.grammar, spec.adapter))
