"""From a workload's text to the driver that sends it, cut after a number of requests if asked."""

from __future__ import annotations

from collections.abc import Callable

from penstock.core.errors import ConfigError
from penstock.workload.driver import Driver, Served, World
from penstock.workload.registry import Value, parse_workload
from penstock.workload.request import TraceRequest


def open_driver(text: str, *, seed: int = 0, rate: float = 0.0, limit: int = 0) -> Driver:
    """Return a fresh driver for a workload.

    Args:
        text: see `penstock.workload.registry.parse_workload`.
        seed: of everything random in it.
        rate: requests per second in place of the workload's own; 0 keeps these.
        limit: requests sent at most; 0 does not bound them.

    Raises:
        ConfigError: the text names no workload, or a file cannot be read.
    """
    overrides: dict[str, Value] = {"rate": rate} if rate else {}
    try:
        driver = parse_workload(text, seed, **overrides)
    except ConfigError as error:
        where = error.field.removeprefix("workload").lstrip(".")
        message = f"{where}: {error.message}" if where and not where.startswith("-") else error.message
        raise ConfigError("--workload", message) from None
    return Limited(driver, limit) if limit else driver


class Limited:
    """A driver whose first requests are sent; later ones, and timers set after the last, are dropped.

    Args:
        driver: any driver.
        count: requests sent.
    """

    def __init__(self, driver: Driver, count: int) -> None:
        self._driver = driver
        self._left = count
        self._world: World | None = None

    def begin(self, world: World) -> None:
        """Send the first requests."""
        self._world = world
        self._driver.begin(self)

    def served(self, result: Served, world: World) -> None:
        """React to the end of a request."""
        self._driver.served(result, self)

    # -- the world that the driver sees --------------------------------------------------------------

    def now(self) -> float:
        """Return the current time."""
        assert self._world is not None
        return self._world.now()

    def submit(self, request: TraceRequest) -> None:
        """Send a request, unless enough have been sent."""
        assert self._world is not None
        if self._left > 0:
            self._left -= 1
            self._world.submit(request)

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Set a timer, unless enough requests have been sent."""
        assert self._world is not None
        if self._left > 0:
            self._world.at(time, call)
