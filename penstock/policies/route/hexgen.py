"""To the replica that is fast for this request and has little to do, by a weight between the two."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.policy import ReplicaView
from penstock.core.request import RequestSpec
from penstock.policies.estimate import alone_seconds
from penstock.policies.registry import register


@register("route", "hexgen")
class Hexgen:
    """``hexgen(alpha)``: greatest ``alpha * t_base / t_e - (1 - alpha) * W_e / W_base``; ties: lowest number.

    ``t_e`` is the time of the request alone on replica e (its cost model; all count as equally fast without
    one), ``W_e`` the time that replica's unfinished requests need on it, and the base is replica 0. While the
    base has nothing to do, work is measured against the busiest replica instead.

    Source: HexGen-Flow's dispatcher. ``hexgen-paper`` is the authors' code, where work is never taken off.

    Args:
        alpha: 1 looks at speed only, 0 at work only.

    Raises:
        ValueError: a weight outside 0..1.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        if not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
            raise ValueError(f"the weight of speed must be within 0..1, got {alpha!r}")
        self.alpha = float(alpha)
        self._work: dict[int, float] = {}
        self._given: dict[int, dict[str, float]] = {}
        """Seconds of each unfinished request, by replica."""

    def choose(self, spec: RequestSpec, replicas: Sequence[ReplicaView], now: float) -> int:
        """Return the place of the replica of the greatest score."""
        times = [alone_seconds(replica.engine.cost, spec) or 1.0 for replica in replicas]
        work = [self._work.get(replica.number, 0.0) for replica in replicas]
        place = self._best(times, work)
        number, load = replicas[place].number, self._load(times[place], times)
        self._work[number] = work[place] + load
        self._given.setdefault(number, {})[spec.id] = load
        return place

    def _best(self, times: list[float], work: list[float]) -> int:
        unit = work[0] or max(work) or 1.0
        scores = [
            self.alpha * times[0] / seconds - (1 - self.alpha) * busy / unit
            for seconds, busy in zip(times, work, strict=True)
        ]
        return max(range(len(scores)), key=lambda place: (scores[place], -place))

    def _load(self, seconds: float, times: list[float]) -> float:
        """Return what a request adds to the work of a replica."""
        return seconds

    def on_finish(self, request_id: str, replica: int, now: float) -> None:
        """Take the work off."""
        given = self._given[replica]
        load = given.pop(request_id)
        # Sums of floats that are taken off again leave dust, by which nothing must be divided.
        self._work[replica] = self._work[replica] - load if given else 0.0


@register("route", "hexgen-paper")
class HexgenPaper(Hexgen):
    """``hexgen-paper(alpha)``: as the authors' code: work only accumulates, and counts half on slow replicas.

    The first request goes to the base. Slow is what needs more than 1.25 times the base's time (their code
    names two cards).
    """

    def _best(self, times: list[float], work: list[float]) -> int:
        return super()._best(times, work) if work[0] else 0

    def _load(self, seconds: float, times: list[float]) -> float:
        return seconds * (0.5 if seconds > 1.25 * times[0] else 1.0)

    def on_finish(self, request_id: str, replica: int, now: float) -> None:
        """Keep the work, as published."""
        del self._given[replica][request_id]
