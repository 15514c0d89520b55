"""The live state of the server: one producer for all who watch, and nothing that runs while nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Mapping

import msgspec

from penstock.core.errors import PenstockError
from penstock.engine.observation import Observation
from penstock.frontend.async_engine import AsyncEngine
from penstock.observe.metrics import Metrics
from penstock.server.connection import event
from penstock.server.errors import APIError
from penstock.server.schemas import live

PERIOD = 0.5
"""Seconds between two events."""
WATCHERS = 64
"""Streams that are served at once."""
STEPS = 128
"""Steps told at once."""
FRESH = 0.1
"""Seconds for which an answer of the engine serves further askers."""
PATIENCE = 0.4
"""Seconds to wait for the engine before its last answer is shown again, with its age."""

_encode = msgspec.json.Encoder().encode


class Board:
    """Makes `live.LiveState` of what engine and front know.

    Args:
        engine: a started engine.
        metrics: the server's.
        policies: policy by slot.
        version: the package's.
        requests: ids of the answers in the making.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        metrics: Metrics,
        policies: Mapping[str, str],
        version: str,
        requests: Collection[str],
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._version = version
        self._requests = requests
        self._policies = dict(policies)
        self._started = time.time()
        self._began = time.monotonic()
        self._asking: asyncio.Future[None] | None = None
        self._seen: Observation | None = None
        self._seen_at = -1e9
        self._restarts = 0
        self._producer: asyncio.Task[None] | None = None
        self._watchers = 0
        self._news = asyncio.Event()
        self._event = b""
        self._ended = False

    async def state(self, since: int = -1) -> live.LiveState:
        """Return the state of this moment, or of at most `FRESH` seconds ago.

        Args:
            since: ticket; only later steps are told.
        """
        await self._look()
        health = self._engine.health()
        recent, wall, now = self._metrics.recent, time.time(), time.monotonic()
        return live.LiveState(
            at=wall,
            started=self._started,
            uptime=now - self._began,
            model=self._metrics.model,
            version=self._version,
            status=health.state,
            cause=health.cause,
            restarts=health.restarts,
            requests=len(self._requests),
            policies=self._policies,
            latency=live.Latency(
                window=recent.ttft.seconds,
                ttft=recent.ttft.percentiles(),
                tpot=recent.tpot.percentiles(),
                queue=recent.queue.percentiles(),
                e2e=recent.e2e.percentiles(),
            ),
            engine=None if self._seen is None else self._picture(self._seen, wall, now, since),
        )

    def join(self) -> None:
        """Count a watcher in; each is counted out by `leave`.

        Raises:
            APIError: there are too many.
        """
        if self._watchers >= WATCHERS:
            raise APIError(
                503,
                f"{WATCHERS} live views are open, which is the most",
                code="too_many_watchers",
                retry_after=5,
            )
        self._watchers += 1

    async def leave(self) -> None:
        """Count a watcher out; the last one stops the producer."""
        self._watchers -= 1
        if self._watchers == 0 and self._producer is not None:
            self._producer.cancel()
            self._producer = None

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Yield an event with the state now, then those of the producer; a slow reader misses some."""
        first = event(_encode(await self.state()))
        if self._producer is None and not self._ended:
            self._producer = asyncio.create_task(self._produce(), name="penstock-live")
        news = self._news
        yield first
        while not self._ended:
            await news.wait()
            news = self._news
            yield self._event

    async def _produce(self) -> None:
        """Publish until cancelled, or until the engine has drained: open streams would hold up the end."""
        told = self._newest()
        while not self._ended:
            await asyncio.sleep(PERIOD)
            restarts = self._restarts
            state = await self.state(told)
            if restarts != self._restarts:
                state = await self.state()
            told = self._newest()
            ending = state.status == "closed" or (state.status == "draining" and self._engine.live() == 0)
            self._event, self._ended = event(_encode(state)), ending
            waiting, self._news = self._news, asyncio.Event()
            waiting.set()

    def _newest(self) -> int:
        return self._seen.steps[-1].ticket if self._seen is not None and self._seen.steps else -1

    async def _look(self) -> None:
        """Ask the engine, all askers together; one that is busy with a long step keeps nobody waiting."""
        if time.monotonic() - self._seen_at < FRESH:
            return
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
        await asyncio.wait({self._asking}, timeout=PATIENCE)

    async def _ask(self) -> None:
        restarts = self._engine.health().restarts
        try:
            seen = await self._engine.observe(-1, STEPS)
        except PenstockError:  # dead or restarting: what it told before says nothing of what comes
            seen = None
        self._seen, self._seen_at, self._restarts = seen, time.monotonic(), restarts

    def _picture(self, seen: Observation, wall: float, now: float, since: int) -> live.EngineState:
        stats, rates = seen.stats, seen.rates
        in_use = stats.blocks_total - stats.blocks_free - stats.blocks_reclaimable
        age = now - self._seen_at
        return live.EngineState(
            age=age,
            running=stats.running,
            waiting=stats.waiting,
            tenants=[live.Tenant(one.tenant, one.running, one.waiting) for one in seen.tenants],
            throughput=live.Throughput(
                window=rates.seconds,
                prompt_computed=rates.prompt_computed,
                prompt_cached=rates.prompt_cached,
                generated=rates.generated,
                device_busy=rates.device,
            ),
            blocks=live.Blocks(
                page_size=self._engine.info.page_size,
                total=stats.blocks_total,
                free=stats.blocks_free,
                cached=stats.blocks_reclaimable,
                in_use=in_use,
                pinned=stats.blocks_pinned,
            ),
            prefix_cache=live.PrefixCache(
                looked_up=stats.prefix_query_tokens,
                found=stats.prefix_hit_tokens,
                hit_rate=_share(stats.prefix_hit_tokens, stats.prefix_query_tokens),
                recent_hit_rate=_share(rates.prompt_cached, rates.prompt_looked_up),
            ),
            submitted=stats.submitted,
            finished=stats.finished,
            preemptions=stats.preemptions,
            recomputed_tokens=stats.recomputed_tokens,
            step_count=stats.steps,
            failed_steps=seen.failed_steps,
            steps=_steps(seen, wall - age, since),
        )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _steps(seen: Observation, wall: float, since: int) -> list[live.Step]:
    """Translate records; the engine's clock read ``seen.now`` at about Unix time ``wall``."""
    offset = wall - seen.now
    return [
        live.Step(
            ticket=one.ticket,
            start=one.start + offset,
            seconds=one.seconds,
            device_seconds=one.device,
            host_seconds=one.host,
            prefill_tokens=one.prefill_tokens,
            decode_tokens=one.decode_tokens,
            rows=one.prefill_tokens + one.decode_tokens,
            sequences=one.sequences,
            running=one.running,
            waiting=one.waiting,
            blocks=one.blocks,
        )
        for one in seen.steps
        if one.ticket > since
    ]
