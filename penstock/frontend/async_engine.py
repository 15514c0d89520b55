"""`AsyncEngine`: the asyncio face of the engine that the server (or any asyncio program) talks to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import Overloaded
from penstock.core.output import EngineStats, FinishReason, Output
from penstock.engine.client import BoundaryClient, ClientOptions, EngineClient, InprocClient, ProcessClient
from penstock.engine.messages import EngineInfo, Health
from penstock.engine.observation import Observation
from penstock.frontend.assembly import Assembly
from penstock.frontend.gather import Reader, Rounds
from penstock.frontend.intake import NO_OPTIONS, Intake, Prepared
from penstock.frontend.model import limits_of, load_tokenizer
from penstock.frontend.outputs import RequestOutput
from penstock.frontend.prompts import Prompt, RequestOptions
from penstock.frontend.scoring import Scorer, load_scorer
from penstock.frontend.specs import SeedSource
from penstock.frontend.stream import RequestStream
from penstock.frontend.text.tokenizer import Tokenizer
from penstock.frontend.traffic import TrafficRecorder

__all__ = ["AsyncEngine", "RequestStream"]

log = logging.getLogger(__name__)


class _Route(msgspec.Struct, frozen=True):
    """Where the outputs of a sequence go. Holds no stream, so that a forgotten stream can be noticed."""

    assembly: Assembly
    reader: Reader


class AsyncEngine:
    """Tokenises, submits, follows and cancels requests; owns the engine behind it.

    Made by `start`. All methods belong to one event loop.

    Args:
        config: the settings.
        client: a started client.
        info: what its engine is.
        tokenizer: the model's.
        recorder: notes what may be kept of the traffic, if that is wanted.
        scorer: foretells the lengths of answers, if that is wanted.
    """

    def __init__(
        self,
        config: Config,
        client: EngineClient,
        info: EngineInfo,
        tokenizer: Tokenizer,
        recorder: TrafficRecorder | None = None,
        scorer: Scorer | None = None,
    ) -> None:
        self.config = config
        self.info = info
        self.tokenizer = tokenizer
        self.limits = limits_of(info, tokenizer)
        self._client = client
        self._recorder = recorder
        self._scorer = scorer
        self._intake = Intake(tokenizer, self.limits, SeedSource(config.model.seed))
        # One thread: tokenising must not hold up the event loop, and tokenizers are not thread-safe.
        self._text_thread = ThreadPoolExecutor(1, "penstock-text")
        self._routes: dict[str, _Route] = {}
        self._rounds = Rounds(config.server.stream_gather, self.live)
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False

    @classmethod
    async def start(
        cls,
        config: Config,
        *,
        build: str = "",
        on_boot_line: Callable[[str], None] | None = None,
        options: ClientOptions | None = None,
    ) -> AsyncEngine:
        """Start the engine (in a process of its own unless ``config.server.inproc``) and wait until ready.

        Args:
            config: the settings.
            build: import string of an engine builder; empty takes the one that serves.
            on_boot_line: receives lines about the progress of starting.
            options: timing of the boundary.

        Raises:
            ConfigError: a setting, model folder or checkpoint cannot be used.
            EngineDead: the engine failed to start; the text carries the cause.
        """
        recorder = TrafficRecorder(config.server.record_traffic) if config.server.record_traffic else None
        client: BoundaryClient
        if config.server.inproc:
            client = InprocClient(config, build, options)
        else:
            client = ProcessClient(config, build, options)
        engine: list[AsyncEngine] = []
        boot = asyncio.ensure_future(
            client.start(lambda outputs: engine[0]._take(outputs), on_boot_line or log.info)
        )
        try:
            if config.server.inproc:
                await boot  # both import the same libraries, which two threads must not do at once
            tokenizer = await asyncio.to_thread(load_tokenizer, config)
            info = await boot
            scorer = await asyncio.to_thread(load_scorer, config, info)
            engine.append(cls(config, client, info, tokenizer, recorder, scorer))
        except BaseException:
            boot.cancel()
            if recorder is not None:
                recorder.close()
            await asyncio.gather(boot, return_exceptions=True)
            await client.close()
            raise
        return engine[0]

    async def prepare(self, prompt: Prompt, params: Any = None) -> Prepared:
        """Validate and tokenise without submitting (``/tokenize``); ``.prompt_ids`` are the tokens.

        Raises:
            InvalidRequest: names the field at fault.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._text_thread, partial(self._intake.prepare, prompt, params))

    async def submit(
        self,
        prompt: Prompt | Prepared,
        params: Any = None,
        *,
        request_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> RequestStream:
        """Validate, tokenise and admit one request.

        When it returns, the request is admitted: every refusal has been raised already, so a server may
        send its headers. The stream ends with exactly one output that has ``finished`` set; failures
        after admission come as ``finish_reason`` "error" (or "abort") with ``detail``, never as exceptions.

        Args:
            prompt: text, token ids, or a conversation; or what `prepare` returned, which has its params.
            params: a mapping of sampling parameters (or `GenerationParams`, or None for defaults).
            request_id: unique among live requests; drawn when None.
            options: tenant, priority, SLO...

        Raises:
            InvalidRequest: names the field at fault (``prompt``, ``messages``, ``max_tokens``...).
            Overloaded: the admit policy is full, or the engine is draining or restarting.
            EngineDead: the engine is gone for good, or died over this; the text carries the cause.
        """
        self._check_admitting()
        prepared = prompt if isinstance(prompt, Prepared) else await self.prepare(prompt, params)
        self._check_admitting()
        if self._scorer is not None and (options is None or options.length_score is None):
            score = await self._scorer.score(prepared.prompt_ids)
            options = msgspec.structs.replace(options or NO_OPTIONS, length_score=score)
            self._check_admitting()
        specs, assembly = self._intake.admit(prepared, request_id, options)
        ids = [spec.id for spec in specs]
        news = asyncio.Event()
        reader = Reader(news.set)
        stream = RequestStream(assembly, news, partial(self._abandon, ids), reader)
        taken = [i for i in ids if i in self._routes]
        if not taken:
            # Outputs may follow the admission at once, before this task runs again.
            self._routes.update(dict.fromkeys(ids, _Route(assembly, reader)))
            self._idle.clear()
            if self._recorder is not None:
                self._recorder.opened(specs)
        try:
            await self._client.submit(specs)
        except BaseException:
            stream.finished = True  # nothing to cancel: the client has seen to that
            if not taken:
                if self._recorder is not None:
                    self._recorder.refused(ids)
                self._forget(ids)
            raise
        return stream

    async def generate(
        self,
        prompt: Prompt | Prepared,
        params: Any = None,
        *,
        request_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> AsyncGenerator[RequestOutput, None]:
        """`submit` and iterate, as one async generator; raises what `submit` raises at the first step."""
        stream = await self.submit(prompt, params, request_id=request_id, options=options)
        try:
            async for output in stream:
                yield output
        finally:
            stream.close()

    def health(self) -> Health:
        """Return the state (starting, ready, draining, restarting, dead, closed), cause and restart count."""
        health = self._client.health
        if self._draining and health.state == "ready":
            return msgspec.structs.replace(health, state="draining")
        return health

    def live(self) -> int:
        """Return how many sequences are unfinished (a request with ``n`` has n of them)."""
        return len(self._routes)

    async def stats(self) -> EngineStats:
        """Ask the engine for a snapshot. Raises EngineDead or Overloaded when it cannot answer."""
        return await self._client.stats()

    async def observe(self, since: int = -1, most: int = 0) -> Observation | None:
        """Return what there is to see of the engine: figures, tenants, its newest steps.

        Args:
            since: ticket; only later steps are told.
            most: steps told at most, the newest.

        Raises:
            EngineDead, Overloaded: it cannot answer.
        """
        return await self._client.observe(since, most)

    async def reset_prefix_cache(self) -> bool:
        """Drop all cached prefixes; False if blocks were in use."""
        return await self._client.reset_prefix_cache()

    async def start_profile(self) -> bool:
        """Begin to record the engine's steps; False if it does already, or no folder is set for it."""
        return await self._client.start_profile()

    async def stop_profile(self) -> str:
        """Write what was recorded and return the file's path; empty if nothing was."""
        return await self._client.stop_profile()

    async def drain(self, timeout: float) -> int:
        """Stop admitting, wait up to ``timeout`` seconds for live requests, abort the rest ("shutdown").

        Returns:
            How many sequences had to be aborted.
        """
        self._draining = True
        if self._idle.is_set():
            return 0
        try:
            await asyncio.wait_for(self._idle.wait(), timeout)
            return 0
        except TimeoutError:
            rest = list(self._routes)
            log.warning("aborting %d sequences that outlived the drain limit of %.1f s", len(rest), timeout)
            self._client.cancel(rest, "shutdown")
        try:
            await asyncio.wait_for(self._idle.wait(), 5.0)
        except TimeoutError:
            log.warning("the engine did not end %d sequences; closing it will", len(self._routes))
        return len(rest)

    async def close(self) -> None:
        """Abort what is live with detail "shutdown" and end the engine; idempotent."""
        self._draining = True
        await self._client.close()
        self._text_thread.shutdown(wait=False, cancel_futures=True)
        if self._scorer is not None:
            self._scorer.close()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close)

    async def __aenter__(self) -> AsyncEngine:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close."""
        await self.close()

    def _check_admitting(self) -> None:
        if self._draining:
            raise Overloaded("the server is shutting down", None)

    def _take(self, outputs: Sequence[Output]) -> None:
        """Sink of the client: put the outputs of a step where they belong, then wake the readers."""
        now: dict[Reader, None] = {}
        soon: dict[Reader, None] = {}
        ended: list[str] = []
        stopped: list[str] = []
        for output in outputs:
            route = self._routes.get(output.request_id)
            if route is None:
                if output.finish is None:
                    stopped.append(output.request_id)
                continue
            if self._recorder is not None:
                self._recorder.took(output)
            if route.assembly.push(output):
                stopped.append(output.request_id)
            if output.finish is not None:
                ended.append(output.request_id)
            wake = route.reader.news(len(output.tokens), output.finish is not None)
            if wake is not None:
                (now if wake else soon)[route.reader] = None
        if stopped:
            self._client.cancel(stopped, reason=FinishReason.STOP)
        self._forget(ended)
        for reader in now:
            reader.wake()
        self._rounds.add(soon)

    def _abandon(self, ids: Iterable[str], detail: str) -> None:
        """Cancel what is live of a request that nobody reads any more."""
        live = [request_id for request_id in ids if request_id in self._routes]
        self._client.cancel(live, detail)
        if self._recorder is not None:
            self._recorder.abandoned(live, detail)
        self._forget(live)

    def _forget(self, ids: Iterable[str]) -> None:
        for request_id in ids:
            self._routes.pop(request_id, None)
        if not self._routes:
            self._idle.set()
