"""A world that answers every request after a fixed time, for drivers to live in."""

import heapq
import itertools

from penstock.workload.driver import Served


class FakeWorld:
    """Runs a driver under virtual time; ``service`` is the seconds an answer takes."""

    def __init__(self, driver, service=1.0, fail=lambda request: False, until=float("inf")):
        self.time, self.driver, self.service, self.fail, self.until = 0.0, driver, service, fail, until
        self.heap, self.order = [], itertools.count()
        self.requests, self.served = [], []
        self.live = self.peak = 0

    def now(self):
        return self.time

    def at(self, time, call):
        heapq.heappush(self.heap, (max(time, self.time), next(self.order), call))

    def submit(self, request):
        self.at(request.arrival, lambda: self._arrive(request))

    def _arrive(self, request):
        self.requests.append((self.time, request))
        self.live += 1
        self.peak = max(self.peak, self.live)
        self.at(self.time + self.service, lambda arrived=self.time: self._end(request, arrived))

    def _end(self, request, arrived):
        self.live -= 1
        result = Served(
            request=request,
            ok=not self.fail(request),
            arrival=arrived,
            first_token=arrived + self.service / 2,
            finished=self.time,
        )
        self.served.append(result)
        self.driver.served(result, self)

    def run(self):
        self.driver.begin(self)
        while self.heap and self.heap[0][0] <= self.until:
            self.time, _, call = heapq.heappop(self.heap)
            call()
        return self
