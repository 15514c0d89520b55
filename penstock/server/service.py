"""What every route needs: the engine, the settings, the model's public name and the metrics."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import msgspec
from starlette.requests import Request

from penstock.config.settings import Config
from penstock.core.errors import ConfigError
from penstock.cost.spec import load_cost
from penstock.frontend.async_engine import AsyncEngine
from penstock.frontend.model import served_name
from penstock.frontend.prompts import RequestOptions
from penstock.observe.metrics import Metrics
from penstock.observe.tracing import NotInstalled, RequestSpan, Tracing, open_tracing
from penstock.server.board import Board
from penstock.server.errors import APIError
from penstock.server.limits import Limiter
from penstock.server.pace import Pace
from penstock.server.principal import Principal


class Live(Protocol):
    """An answer in the making, seen from outside."""

    @property
    def principal(self) -> Principal:
        """Whose it is."""

    def stop(self, detail: str, error: APIError) -> None:
        """End it: a reason for the engine, and what its client is told."""


@dataclass(slots=True)
class Service:
    """The server's state; one per application, found by `of`."""

    engine: AsyncEngine
    config: Config
    metrics: Metrics
    model: str
    """Name that clients use for the model."""
    fingerprint: str
    """OpenAI's ``system_fingerprint``: equal when model, numerics and version are."""
    created: int = field(default_factory=lambda: int(time.time()))
    """Unix seconds of the start."""
    live: dict[str, Live] = field(default_factory=dict)
    """The answers in the making, by id."""
    limiter: Limiter = field(init=False)
    """What tenants and keys use."""
    tracing: Tracing | None = None
    board: Board = field(init=False)
    """The live state, for those who watch."""

    def __post_init__(self) -> None:
        policies = policies_of(self.config)
        self.board = Board(self.engine, self.metrics, policies, package_version(), self.live)
        cost = load_cost(self.config.model.cost) if self.config.model.cost else None
        self.limiter = Limiter(Pace(time.monotonic, cost), time.monotonic)

    def span(self, answer_id: str, options: RequestOptions) -> RequestSpan | None:
        """Begin to follow a request for its trace; None without tracing."""
        if self.tracing is None:
            return None
        return self.tracing.begin(answer_id, options.tenant, options.priority, options.trace)

    def check_model(self, name: str | None) -> None:
        """Raise a 404 unless the name is absent or the one that is served."""
        if name is not None and name != self.model:
            raise APIError(
                404,
                f"The model '{name}' does not exist here; this server serves '{self.model}'.",
                param="model",
                code="model_not_found",
            )


def of(request: Request) -> Service:
    """Return the service that a request is addressed to."""
    service: Service = request.app.state.service
    return service


def build_service(engine: AsyncEngine, config: Config) -> Service:
    """Return the state of a new server around a running engine."""
    model = served_name(config)
    metrics = Metrics(
        model,
        vllm_names=config.observe.metrics_compat == "vllm",
        tenants=config.observe.metrics_tenants,
        policies=policies_of(config),
        cache=_cache_labels(engine, config),
    )
    service = Service(engine, config, metrics, model, _fingerprint(config, model))
    service.tracing = _tracing(config, model)
    return service


def _tracing(config: Config, model: str) -> Tracing | None:
    """Return what sends traces, if that is wanted.

    Raises:
        ConfigError: the endpoint is none, or the extra is not installed.
    """
    endpoint = config.observe.otlp_traces_endpoint
    try:
        return open_tracing(endpoint, model, package_version()) if endpoint else None
    except (ValueError, NotInstalled) as error:
        raise ConfigError("observe.otlp_traces_endpoint", str(error)) from error


def policies_of(config: Config) -> dict[str, str]:
    """Return the policy of each slot."""
    slots = ("order", "shape", "preempt", "evict", "admit", "reserve", "retain")
    return {slot: getattr(config.schedule, slot) for slot in slots}


def _cache_labels(engine: AsyncEngine, config: Config) -> dict[str, str]:
    """Return what dashboards and gateways read of the KV cache, in the words that they know."""
    return {
        "block_size": str(engine.info.page_size),
        "num_gpu_blocks": str(engine.info.blocks),
        "cache_dtype": config.cache.kv_cache_dtype,
        "enable_prefix_caching": str(config.cache.enable_prefix_caching),
        "gpu_memory_utilization": str(config.cache.memory_fraction),
    }


def package_version() -> str:
    """Return the installed version of Penstock."""
    try:
        return version("penstock")
    except PackageNotFoundError:  # run from a tree that was never installed
        return "unknown"


def _fingerprint(config: Config, model: str) -> str:
    numerics = (package_version(), model, config.model, config.cache.kv_cache_dtype)
    return "fp_" + hashlib.sha256(msgspec.json.encode(numerics)).hexdigest()[:12]
