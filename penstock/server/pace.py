"""How fast the server answers now, to tell those who are turned away when to come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Protocol

from penstock.core.plan import PlanShape
from penstock.core.policy import StepCost

MEMORY = 10.0
"""Busy seconds over which the throughput is averaged."""
FORGET = 0.98
"""What an ended answer still weighs in the expected length, one answer later."""
UNKNOWN = 1.0
"""Seconds to come back after while nothing is known yet."""
LONGEST = 600.0
"""Seconds: beyond this a forecast says no more than "much later"."""
CHUNK = 512
"""Prompt tokens that are priced as one step."""


class Work(Protocol):
    """An HTTP request that is being answered."""

    @property
    def answers(self) -> int: ...  # noqa: D102
    @property
    def prompt_tokens(self) -> int: ...  # noqa: D102
    @property
    def most_tokens(self) -> int: ...  # noqa: D102
    @property
    def generated(self) -> int: ...  # noqa: D102
    @property
    def begun(self) -> bool: ...  # noqa: D102


class Pace:
    """Measures throughput and lengths, and foretells from them.

    Where the model's step times are known (``model.cost``), those tell how fast it goes; else what was
    measured lately does.

    Args:
        clock: monotonic seconds.
        cost: step times of the model.
    """

    def __init__(self, clock: Callable[[], float], cost: StepCost | None = None) -> None:
        self._clock = clock
        self._cost = cost
        self._live: dict[int, Work] = {}
        self._busy = 0.0
        self._tokens = 0.0
        self._then = clock()
        self._ended = [0.0, 0.0]

    def enter(self, work: Work) -> None:
        """Count a request as live."""
        self._pass_time()
        self._live[id(work)] = work

    def news(self, tokens: int) -> None:
        """Note tokens that were computed: a prompt with its first token, or those generated since."""
        self._pass_time()
        self._tokens += tokens

    def leave(self, work: Work) -> None:
        """Count a request as live no more, and learn from its length. Idempotent."""
        self._pass_time()
        if self._live.pop(id(work), None) is not None and work.generated:
            count, total = self._ended
            self._ended = [count * FORGET + work.answers, total * FORGET + work.generated]

    def _pass_time(self) -> None:
        """Idle time says nothing of the throughput: only time with live requests counts."""
        now = self._clock()
        if self._live:
            passed = max(0.0, now - self._then)
            keep = math.exp(-passed / MEMORY)
            self._busy = self._busy * keep + passed
            self._tokens *= keep
        self._then = now

    def throughput(self) -> float:
        """Return the tokens a second, of prompts and answers together; 0 while unknown."""
        self._pass_time()
        return self._tokens / self._busy if self._busy > 0.1 else 0.0

    def until_one_ends(self, works: Collection[Work]) -> float:
        """Return the seconds until the first of these requests should be answered."""
        if not works:
            return UNKNOWN
        each = self._seconds_per_token()
        if each is None:
            return UNKNOWN
        begins = self.until_begun()
        return _bounded(min(self._left(work) * each + (0.0 if work.begun else begins) for work in works))

    def until_begun(self) -> float:
        """Return the seconds until the prompts that wait now should have been computed."""
        tokens = sum(work.prompt_tokens for work in self._live.values() if not work.begun)
        if self._cost is not None:
            steps = tokens / CHUNK
            shape = PlanShape(CHUNK, 1, 0, CHUNK, 0, CHUNK * (CHUNK + 1) // 2, 1, 0)
            return _bounded(steps * self._cost.step(shape))
        rate = self.throughput()
        return _bounded(tokens / rate) if rate else UNKNOWN

    def _seconds_per_token(self) -> float | None:
        """Return how long one answer takes for a token among all that are live."""
        begun = [work for work in self._live.values() if work.begun]
        answers = max(1, sum(work.answers for work in begun))
        if self._cost is not None:
            context = sum(work.prompt_tokens * work.answers + work.generated for work in begun)
            return self._cost.step(PlanShape(answers, answers, answers, 0, context, 0, answers, 0))
        rate = self.throughput()
        return answers / rate if rate else None

    def _left(self, work: Work) -> float:
        """Return the tokens that each answer of a request is expected to get yet."""
        count, total = self._ended
        most = float(work.most_tokens)
        expected = min(most, total / count) if count else most
        return max(1.0, expected - work.generated / work.answers)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST)
