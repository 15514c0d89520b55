"""`ResponseStore`: responses that can be asked for again, bounded in bytes and in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.server.errors import APIError
from penstock.server.principal import Principal
from penstock.server.schemas.response_reply import Response
from penstock.server.turns import Message

if TYPE_CHECKING:
    from penstock.server.responses.background import BackgroundRun


class Record(msgspec.Struct, kw_only=True):
    """A response with what it takes to go on after it."""

    owner: str
    response: Response
    input_items: list[dict[str, Any]]
    messages: list[Message]
    """The conversation up to its answer, without instructions."""
    born: float
    """Monotonic seconds at which it was kept."""
    size: int = 0
    """Bytes that it is charged for."""
    run: BackgroundRun | None = None
    """Who generates it, or did, in the background."""

    @property
    def live(self) -> bool:
        """Whether it is still being generated."""
        return self.response.status in ("queued", "in_progress")


def owner_of(who: Principal) -> str:
    """Return whose a principal's responses are: the tenant's, so that a new key of it finds them too."""
    if who.tenant is not None:
        return f"tenant {who.tenant}"
    return f"key {who.name}" if who.name else ""


class ResponseStore:
    """Keeps responses by owner and id. A response that is being generated is never dropped.

    Beyond the bound, the oldest goes of the owner who keeps most, so that nobody can drive out the others.
    A conversation is charged to each of its responses: they share its messages, but any may stay alone.

    Args:
        max_bytes: bound of what is kept; 0 keeps nothing.
        ttl: seconds for which a response is kept.
        clock: monotonic seconds.
    """

    def __init__(self, max_bytes: int, ttl: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.keeps = max_bytes > 0
        self.bytes = 0
        self._max = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._records: dict[str, Record] = {}
        self._owned: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self._records)

    def keep(
        self,
        owner: str,
        response: Response,
        input_items: list[dict[str, Any]],
        messages: list[Message],
        run: BackgroundRun | None = None,
    ) -> Record:
        """Keep a response, in place of what was kept under its id."""
        record = Record(
            owner=owner,
            response=response,
            input_items=input_items,
            messages=messages,
            born=self._clock(),
            run=run,
        )
        record.size = _size(response, input_items, messages) + (run.size() if run is not None else 0)
        self._drop(response.id)
        self._records[response.id] = record
        self.bytes += record.size
        self._owned[owner] = self._owned.get(owner, 0) + record.size
        self._make_room()
        return record

    def get(self, owner: str, response_id: str) -> Record:
        """Return a response of the owner's.

        Raises:
            APIError: 404 when it is not there, which is also all that other owners learn of it.
        """
        self._expire()
        record = self._records.get(response_id)
        if record is None or record.owner != owner:
            raise APIError(
                404,
                f"There is no response '{response_id[:80]}' here; responses are kept for {self._ttl:g} s.",
                param="response_id",
                code="not_found",
            )
        return record

    def delete(self, owner: str, response_id: str) -> None:
        """Drop a response of the owner's. Raises as `get` does."""
        self._drop(self.get(owner, response_id).response.id)

    def _expire(self) -> None:
        now = self._clock()
        for key, record in list(self._records.items()):
            if now - record.born <= self._ttl:
                break
            if not record.live:
                self._drop(key)

    def _make_room(self) -> None:
        self._expire()
        while self.bytes > self._max:
            ended = [record for record in self._records.values() if not record.live]
            if not ended:
                return
            heaviest = max(ended, key=lambda record: self._owned[record.owner]).owner
            self._drop(next(record for record in ended if record.owner == heaviest).response.id)

    def _drop(self, key: str) -> None:
        record = self._records.pop(key, None)
        if record is not None:
            self.bytes -= record.size
            self._owned[record.owner] -= record.size
            if self._owned[record.owner] == 0:
                del self._owned[record.owner]


def _size(*parts: Response | Sequence[Any]) -> int:
    return sum(len(msgspec.json.encode(part)) for part in parts)
