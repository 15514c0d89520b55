"""`EngineClient`: the API side's handle on an engine, wherever it runs.

Bookkeeping that makes "exactly one terminal output per sequence" true here even when the engine is not
there to send it: every admitted id is live until its terminal output passed, and when the engine dies each
live id gets one output of reason error with the true cause.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from penstock.config.settings import Config
from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.output import EngineStats, Finish, FinishReason, Output
from penstock.core.request import RequestSpec
from penstock.engine.build import DEFAULT_BUILD
from penstock.engine.driver import ThreadHost
from penstock.engine.host import Host
from penstock.engine.messages import (
    Accepted,
    Call,
    Cancel,
    EngineDead,
    EngineInfo,
    FromEngine,
    Health,
    Lease,
    Outputs,
    Rejected,
    Reply,
    Submit,
    error_of,
)
from penstock.engine.observation import Observation
from penstock.engine.process import ProcessHost
from penstock.engine.quarantine import Quarantine
from penstock.engine.supervisor import RestartPolicy, Supervisor
from penstock.engine.watchdog import Watchdog

log = logging.getLogger(__name__)

Sink = Callable[[Sequence[Output]], None]
"""Receives the outputs of one step, on the event loop; must not block and must not raise."""


class EngineClient(Protocol):
    """What the front needs of an engine. All methods belong to one event loop."""

    async def start(self, sink: Sink, on_line: Callable[[str], None] = ...) -> EngineInfo:
        """Boot the engine. Raises ConfigError or EngineDead."""
        ...

    async def submit(self, specs: Sequence[RequestSpec]) -> None:
        """Admit all of them or none. Raises InvalidRequest, Overloaded or EngineDead."""
        ...

    def cancel(self, ids: Sequence[str], detail: str = ..., reason: FinishReason = ...) -> None:
        """Ask for their end; unknown ids are ignored. Never blocks, never raises."""
        ...

    async def stats(self) -> EngineStats:
        """Return a snapshot. Raises Overloaded (restarting) or EngineDead."""
        ...

    async def observe(self, since: int = ..., most: int = ...) -> Observation | None:
        """Return what there is to see of the engine; None if it notes nothing. Raises as `stats` does."""
        ...

    async def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False if some were in use."""
        ...

    async def start_profile(self) -> bool:
        """Begin to record steps; False if the engine cannot, or does already. Raises as `stats` does."""
        ...

    async def stop_profile(self) -> str:
        """Write what was recorded and return the path; empty if nothing was. Raises as `stats` does."""
        ...

    async def drain(self) -> None:
        """Let the engine refuse further sequences."""
        ...

    async def close(self) -> None:
        """End the engine; live sequences are aborted with detail "shutdown". Idempotent."""
        ...

    def is_alive(self) -> bool:
        """Whether requests can be submitted now."""
        ...

    @property
    def health(self) -> Health:
        """State, cause of the last failure, restarts."""
        ...


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Timing of the boundary, in seconds."""

    lease_interval: float = 1.0
    """How often live ids are named to the engine while there are any."""
    lease_timeout: float = 15.0
    """Silence after which the engine cancels a connection's sequences."""
    stop_grace: float = 5.0
    """How long a closing engine may take before it is killed."""
    restart: RestartPolicy = RestartPolicy()


class BoundaryClient:
    """An `EngineClient` over the message boundary; `ProcessClient` and `InprocClient` choose the host.

    Args:
        host: where engines run.
        config: what the engine is built from.
        build: import string of the builder.
        options: timing.
    """

    def __init__(self, host: Host, config: Config, build: str, options: ClientOptions) -> None:
        self._options = options
        self._supervisor = Supervisor(
            host,
            config,
            build or DEFAULT_BUILD,
            on_message=self._on_message,
            on_down=self._on_down,
            policy=options.restart,
            watchdog=Watchdog(config.server.watchdog_timeout, self._is_busy),
            lease_timeout=options.lease_timeout,
        )
        self._sink: Sink = lambda outputs: None
        self._live: dict[str, bool] = {}
        """Ids whose terminal output has not passed, and whether they are still wanted."""
        self._has_live = asyncio.Event()
        self._quarantine = Quarantine()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._leases: asyncio.Task[None] | None = None

    @property
    def health(self) -> Health:
        """State, cause of the last failure, restarts."""
        return self._supervisor.health

    @property
    def pid(self) -> int:
        """Process id of the engine, 0 while there is none."""
        return self._supervisor.pid

    def is_alive(self) -> bool:
        """Whether requests can be submitted now."""
        return self.health.state == "ready"

    async def start(self, sink: Sink, on_line: Callable[[str], None] = lambda line: None) -> EngineInfo:
        """Boot the engine.

        Args:
            sink: receives outputs.
            on_line: receives lines about the progress of starting.

        Raises:
            ConfigError, EngineDead: it did not start.
        """
        self._sink = sink
        info = await self._supervisor.start(on_line)
        self._leases = asyncio.create_task(self._send_leases(), name="penstock-leases")
        return info

    async def submit(self, specs: Sequence[RequestSpec]) -> None:
        """Admit all sequences or none; returns when the engine has answered."""
        ids = [spec.id for spec in specs]
        self._check_free(ids)
        self._check_ready()
        await self._quarantine.enter(specs)
        mine = False
        try:
            self._check_free(ids)  # again: it may have waited
            self._check_ready()
            mine = True
            self._live.update(dict.fromkeys(ids, True))
            self._has_live.set()
            number = next(self._numbers)
            await self._ask(number, Submit(number, tuple(specs)))
        except BaseException as error:
            # Cancelled while waiting: the engine may have admitted them, and must let them go.
            if isinstance(error, asyncio.CancelledError):
                self._supervisor.send(Cancel(tuple(ids)))
            for request_id in ids:
                if mine:
                    self._live.pop(request_id, None)
                if request_id not in self._live:
                    self._quarantine.left(request_id)
            raise

    def _check_free(self, ids: Sequence[str]) -> None:
        for request_id in ids:
            if request_id in self._live:
                raise InvalidRequest("request_id", f"{request_id!r} is in use by a live request")

    def cancel(
        self, ids: Sequence[str], detail: str = "client", reason: FinishReason = FinishReason.ABORT
    ) -> None:
        """Ask for the end of sequences; each live one still gets its terminal output. Asks once."""
        live = tuple(request_id for request_id in ids if self._live.get(request_id))
        if live:
            self._live.update(dict.fromkeys(live, False))
            self._supervisor.send(Cancel(live, detail, reason))

    async def stats(self) -> EngineStats:
        """Return a snapshot."""
        reply = await self._call("stats")
        assert reply.stats is not None
        return reply.stats

    async def observe(self, since: int = -1, most: int = 0) -> Observation | None:
        """Return what there is to see, with up to `most` steps after ticket `since`."""
        return (await self._call("observe", since, most)).observation

    async def reset_prefix_cache(self) -> bool:
        """Forget cached prefixes; False if some were in use."""
        return (await self._call("reset_prefix_cache")).done

    async def start_profile(self) -> bool:
        """See `EngineClient.start_profile`."""
        return (await self._call("start_profile")).done

    async def stop_profile(self) -> str:
        """See `EngineClient.stop_profile`."""
        return (await self._call("stop_profile")).text

    async def drain(self) -> None:
        """Let the engine refuse further sequences."""
        await self._call("drain")

    async def close(self) -> None:
        """End the engine and everything that belongs to it."""
        if self._leases is not None:
            self._leases.cancel()
            await asyncio.gather(self._leases, return_exceptions=True)
        await self._supervisor.close(self._options.stop_grace)
        self._end_all(FinishReason.ABORT, "shutdown")

    async def _call(self, name: Any, since: int = -1, most: int = 0) -> Reply:
        self._check_ready()
        number = next(self._numbers)
        reply: Reply = await self._ask(number, Call(number, name, since, most))
        return reply

    async def _ask(self, number: int, message: Submit | Call) -> Any:
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._supervisor.send(message)
        try:
            return await future
        finally:
            self._waiting.pop(number, None)

    def _check_ready(self) -> None:
        health = self.health
        if health.state == "restarting":
            raise Overloaded(f"the engine is restarting: {health.cause}", 1.0)
        if health.state != "ready":
            raise EngineDead(f"the engine is {health.state}" + (f": {health.cause}" if health.cause else ""))

    def _on_message(self, message: FromEngine) -> None:
        match message:
            case Outputs(outputs):
                self._pass_on(outputs)
            case Accepted(seq):
                self._resolve(seq, None)
            case Rejected(seq, refusal):
                self._resolve(seq, error_of(refusal))
            case Reply():
                self._resolve(message.seq, message)
            case _:
                pass

    def _resolve(self, number: int, result: Any) -> None:
        future = self._waiting.get(number)
        if future is None or future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _pass_on(self, outputs: Sequence[Output]) -> None:
        known = [output for output in outputs if output.request_id in self._live]
        for output in known:
            if output.finish is not None:
                del self._live[output.request_id]
                self._quarantine.left(output.request_id, output.finish)
        self._hand_over(known)

    def _is_busy(self) -> bool:
        return bool(self._live or self._waiting)

    def _on_down(self, cause: str) -> None:
        self._quarantine.died(cause)
        self._end_all(FinishReason.ERROR, cause)

    def _end_all(self, reason: FinishReason, detail: str) -> None:
        """Give every live sequence its terminal output, and every waiting call its error."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineDead(detail))
        ended, self._live = self._live, {}
        self._hand_over([Output(request_id, finish=Finish(reason, detail)) for request_id in ended])

    def _hand_over(self, outputs: Sequence[Output]) -> None:
        if not outputs:
            return
        try:
            self._sink(outputs)
        except Exception:  # a fault of the front's must not be taken for one of the engine
            log.exception("the receiver of outputs failed")

    async def _send_leases(self) -> None:
        while True:
            await self._has_live.wait()
            await asyncio.sleep(self._options.lease_interval)
            wanted = tuple(request_id for request_id, is_wanted in self._live.items() if is_wanted)
            self._supervisor.send(Lease(wanted))
            if not self._live:
                self._has_live.clear()


class ProcessClient(BoundaryClient):
    """A client whose engine runs in a process of its own.

    Args:
        config: what the engine is built from.
        build: import string of the builder; empty takes the one that serves.
        options: timing.
        env: environment variables for the process.
    """

    def __init__(
        self,
        config: Config,
        build: str = "",
        options: ClientOptions | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(ProcessHost(env), config, build, options or ClientOptions())


class InprocClient(BoundaryClient):
    """A client whose engine runs in a thread of this process.

    Args:
        config: what the engine is built from.
        build: import string of the builder; empty takes the one that serves.
        options: timing.
    """

    def __init__(self, config: Config, build: str = "", options: ClientOptions | None = None) -> None:
        super().__init__(ThreadHost(), config, build, options or ClientOptions())
