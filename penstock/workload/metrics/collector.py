"""`Collector`: is told what happens to requests, and answers with every figure that is defined for a run."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np

from penstock.core.output import Output
from penstock.workload.metrics.columns import Columns
from penstock.workload.metrics.fairness import jain, service_difference, spread
from penstock.workload.metrics.histogram import LogHistogram
from penstock.workload.metrics.percentiles import PERCENTILES, summarise
from penstock.workload.metrics.slo import effective, meets_own, needed_scale
from penstock.workload.metrics.stability import unstable
from penstock.workload.metrics.summary import Gaps, Interval, RawGaps, latencies, report
from penstock.workload.request import TraceRequest

_FLUSH = 1 << 16
SERVICE_WINDOW = 60.0
"""Seconds over which VTC's artifact compares the service of tenants."""


class _Live:
    """A request under way."""

    __slots__ = (
        *(
            "arrival",
            "cached",
            "count",
            "first",
            "gaps",
            "last",
            "lost",
            "preempted",
            "request",
            "slow",
            "times",
        ),
        *("visible", "worst"),
    )

    def __init__(self, request: TraceRequest, arrival: float, gaps: array[float], slow: bool) -> None:
        self.request = request
        self.first = self.visible = self.preempted = -1.0
        self.arrival = self.last = arrival
        self.worst = self.lost = 0.0
        self.count = self.cached = 0
        self.gaps = gaps
        self.slow = slow
        """Something rare is pending: first visible token, return from preemption, or token times are kept."""
        self.times: array[float] | None = None


class Collector:
    """Gathers the figures of one run, real or simulated. Times are seconds on one clock.

    Args:
        mode: ``light`` pools inter-token gaps in 1 % bins and keeps below 300 bytes a request; ``exact``
        keeps
            every token time besides, for `token_times`, exact percentiles of gaps and FastGen's effective
            rate.
        warmup: requests that arrive within so many seconds of the first one are served but left out of every
            latency, attainment and throughput.
        cooldown: likewise those that arrive within so many seconds of the last arrival (not their gaps in
        ``light``). service_bucket: seconds per bucket of `service`; 0 keeps no service.
        prices: service units of an input and an output token.
        count_cached: prompt tokens from the prefix cache are service too (VTC); DLPM counts computed ones
        only.
    """

    def __init__(
        self,
        mode: Literal["light", "exact"] = "light",
        warmup: float = 0.0,
        cooldown: float = 0.0,
        service_bucket: float = 10.0,
        prices: tuple[float, float] = (1.0, 2.0),
        count_cached: bool = True,
    ) -> None:
        self.exact = mode == "exact"
        self.warmup, self.cooldown = warmup, cooldown
        self.service_bucket, self.prices, self.count_cached = service_bucket, prices, count_cached
        self.columns = Columns()
        self.tenant_names: list[str] = []
        self.first_arrival = self.last_arrival = math.nan
        self.token_times: dict[str, array[float]] = {}
        """Exact mode: times of the tokens of finished requests, by id."""
        self.rows: dict[str, int] = {}
        """Exact mode: row of `columns` by id."""
        self.service: dict[int, dict[int, float]] = {}
        """Service units by tenant index and time bucket, see `fairness.service_difference`."""
        self.job_times: array[float] = array("d")
        """Seconds from the first arrival of each completed program to its last token."""
        self.details: dict[str, int] = {}
        """How many requests ended with each detail, of those that failed or brought one."""
        self.live: dict[str, _Live] = {}
        self._tenants: dict[str, int] = {}
        self._programs: dict[str, float] = {}
        self._gaps: array[float] = array("d")
        self._ignored: array[float] = array("d")
        self._histogram = LogHistogram()

    def arrived(self, request: TraceRequest, now: float) -> None:
        """A request reached the front door."""
        if math.isnan(self.first_arrival):
            self.first_arrival = now
        self.last_arrival = now
        if request.program is not None:
            self._programs.setdefault(request.program, now)
        warm = now - self.first_arrival >= self.warmup
        live = _Live(
            request, now, self._gaps if warm else self._ignored, self.exact or request.think_tokens > 0
        )
        if self.exact:
            live.times = array("d")
        self.live[request.id] = live

    def tokens(self, request_id: str, count: int, now: float, cached: int = 0) -> None:
        """``count`` tokens of a request became available to its client together; the hot path."""
        live = self.live[request_id]
        gap = now - live.last
        if gap > live.worst:
            live.worst = gap
        live.last = now
        live.count += count
        if live.first >= 0.0:
            live.gaps.append(gap)
        else:
            live.first = now
            live.cached = cached
        if live.slow:
            self._slow(live, count, now)

    def _slow(self, live: _Live, count: int, now: float) -> None:
        if live.visible < 0 and live.count > live.request.think_tokens:
            live.visible = now
        if live.preempted >= 0:
            live.lost += now - live.preempted
            live.preempted = -1.0
        if live.times is not None:
            live.times.extend([now] * count)
        live.slow = live.times is not None or live.visible < 0

    def preempted(self, request_id: str, now: float) -> None:
        """A running request lost its place; what passes until its next token is its preemption loss."""
        live = self.live[request_id]
        if live.preempted < 0:
            live.preempted = now
        live.slow = True

    def finished(
        self,
        request_id: str,
        now: float,
        ok: bool,
        output: Output | None = None,
        detail: str = "",
    ) -> None:
        """A request ended, by itself (``ok``) or not; its last tokens have been reported before.

        Args:
            request_id: as it arrived.
            now: when it ended.
            ok: it was served in full.
            output: its last one, which has the engine's milestones; None if the engine refused it or is not
            ours. detail: why it ended, where that is not obvious.
        """
        live = self.live.pop(request_id)
        request = live.request
        ok = ok and live.count > 0
        if detail or not ok:
            self.details[detail] = self.details.get(detail, 0) + 1
        tenant = self._tenant(request.tenant)
        finish = output.finish if output is not None else None
        scheduled = finish.timeline.first_scheduled if finish is not None else 0.0
        preemptions = finish.preemptions if finish is not None else 0
        visible = live.visible if request.think_tokens else live.first
        last = live.last if live.first >= 0 else -1.0
        own = -1
        if request.slo is not None:
            own = int(ok and meets_own(request.slo, live.arrival, live.first, last, live.count))
        times = (live.arrival, scheduled or -1.0, live.first, visible, last, live.worst, live.lost, now)
        tokens = (request.prompt_tokens, live.count, live.cached, tenant, preemptions)
        if live.times is not None:
            self.rows[request_id] = len(self.columns)
            self.token_times[request_id] = live.times
        self.columns.append((*times, *tokens, int(ok), own))
        if self.service_bucket and live.first >= 0:
            prompt = request.prompt_tokens - (0 if self.count_cached else live.cached)
            units = self.prices[0] * prompt + self.prices[1] * live.count
            spread(self.service[tenant], live.first, last, units, self.service_bucket)
        if request.program is not None and request.turn is not None and request.turn.last:
            began = self._programs.pop(request.program, live.arrival)
            if ok:
                self.job_times.append(last - began)
        if not self.exact and len(self._gaps) + len(self._ignored) >= _FLUSH:
            self._flush()

    def _tenant(self, name: str) -> int:
        index = self._tenants.get(name)
        if index is None:
            index = self._tenants[name] = len(self.tenant_names)
            self.tenant_names.append(name)
            self.service[index] = {}
        return index

    def _flush(self) -> None:
        self._histogram.add(np.array(self._gaps))
        del self._gaps[:]
        del self._ignored[:]

    def summary(
        self, slo: Mapping[str, float] | None = None, percentiles: Iterable[float] = PERCENTILES
    ) -> dict[str, float | int]:
        """Return every figure of the run; docs of the keys: `penstock.workload.metrics.summary`.

        Args:
            slo: objectives in seconds (``ttft``, ``tpot``, ``e2el``); adds attainment and goodput.
            percentiles: which ones to report besides the median.
        """
        wanted = tuple(percentiles)
        interval = self.interval()
        counted = interval.holds(self.columns["arrival"])
        figures = report(self.columns, counted, self._unfinished(interval), slo, wanted)
        figures |= self._gap_figures().summarise("itl", wanted)
        figures |= summarise("jct", np.array(self.job_times), wanted)
        figures["jobs"] = len(self.job_times)
        figures["unstable"] = int(self.unstable())
        units = [sum(buckets.values()) for buckets in self.service.values()]
        figures["jain"] = jain(units)
        windows = service_difference(self.service, self._window_buckets())
        figures["max_service_difference"] = max(windows, default=0.0)
        figures["mean_service_difference"] = sum(windows) / len(windows) if windows else 0.0
        return figures | {"warmup": self.warmup, "cooldown": self.cooldown}

    def by_tenant(
        self, slo: Mapping[str, float] | None = None, percentiles: Iterable[float] = PERCENTILES
    ) -> dict[str, dict[str, float | int]]:
        """Return the figures of each tenant that was served or turned away, and its ``service`` units."""
        interval, wanted = self.interval(), tuple(percentiles)
        counted, tenants = interval.holds(self.columns["arrival"]), self.columns["tenant"]
        result = {}
        for name, index in self._tenants.items():
            unfinished = self._unfinished(interval, name)
            figures = report(self.columns, counted & (tenants == index), unfinished, slo, wanted)
            result[name] = figures | {"service": sum(self.service[index].values())}
        return result

    def interval(self) -> Interval:
        """Return when the requests that count arrived: after the warm-up and before the cool-down."""
        return Interval(self.first_arrival + self.warmup, self.last_arrival - self.cooldown)

    def unstable(self) -> bool:
        """Return whether the backlog grew without end; such a run has no meaningful percentiles."""
        waiting = [live.arrival for live in self.live.values()]
        arrivals = np.concatenate([self.columns["arrival"], np.array(waiting)])
        return unstable(arrivals, self.columns["end"])

    def slo_scale(self, slo: Mapping[str, float], share: float = 0.9) -> float:
        """Return the least factor on all objectives at which ``share`` of the requests meet them."""
        interval = self.interval()
        counted = interval.holds(self.columns["arrival"])
        done = counted & (self.columns["ok"] == 1)
        failed = int(counted.sum() - done.sum()) + self._unfinished(interval)
        return needed_scale(latencies(self.columns, done), slo, failed, share)

    def effective_rate(self, tokens_per_second: float) -> float:
        """Return FastGen's effective requests per second at a reading speed (exact mode only)."""
        if not self.exact:
            raise ValueError("the effective rate needs every token time: Collector(mode='exact')")
        arrival, prompt, ok = (self.columns[name] for name in ("arrival", "prompt", "ok"))
        counted = self.interval().holds(arrival)
        good = sum(
            effective(arrival[row], self.token_times[name], int(prompt[row]), tokens_per_second)
            for name, row in self.rows.items()
            if counted[row] and ok[row]
        )
        ends = self.columns["end"][counted]
        duration = float(ends.max() - arrival[counted].min()) if len(ends) else 0.0
        return good / duration if duration > 0 else 0.0

    def _unfinished(self, interval: Interval, tenant: str | None = None) -> int:
        return sum(
            interval.begin <= live.arrival <= interval.end
            for live in self.live.values()
            if tenant is None or live.request.tenant == tenant
        )

    def _gap_figures(self) -> Gaps:
        if self.exact:
            return RawGaps(np.array(self._gaps))
        self._flush()
        return self._histogram

    def _window_buckets(self) -> int:
        return max(1, round(SERVICE_WINDOW / self.service_bucket)) if self.service_bucket else 1
