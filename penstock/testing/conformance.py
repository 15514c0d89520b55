"""The conformance kit: what every policy owes the mechanism, as checks that anybody's policy can be put to.

Use it in a test of your own::

    from penstock.testing.conformance import check_order
    check_order(MyOrder)          # raises AssertionError with the reason

Each check builds the policy anew (``make``) as often as it needs to, on populations drawn from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from penstock.core.policy import (
    AdmitPolicy,
    EvictPolicy,
    OrderPolicy,
    Policies,
    PreemptPolicy,
    SequenceView,
    ShapePolicy,
)
from penstock.core.request import RequestSpec
from penstock.core.scheduler import Scheduler
from penstock.core.sequence import Sequence as Seq
from penstock.core.state import SchedulerState
from penstock.engine.core import EngineCore
from penstock.policies.admit.unlimited import Unlimited
from penstock.policies.evict.lru import LRU
from penstock.policies.preempt.newest import Newest
from penstock.policies.reserve.known import Known
from penstock.policies.retain.none import NoRetention
from penstock.policies.shape.chunked import Chunked
from penstock.testing.builders import make_request, make_spec
from penstock.testing.clock import ManualClock
from penstock.testing.fake_executor import FakeExecutor


class _CountedKey:
    """A key that counts comparisons, to bound the work of a ranking."""

    comparisons = 0

    def __init__(self, key: Any) -> None:
        self.key = key

    def __lt__(self, other: _CountedKey) -> bool:
        _CountedKey.comparisons += 1
        return bool(self.key < other.key)


def population(size: int, seed: int = 0) -> list[Seq]:
    """Return sequences of mixed arrival, tenant, priority and progress."""
    rng = random.Random(seed)
    made = []
    for number in range(size):
        request = make_request(
            f"s{number}",
            rng.randrange(1, 100),
            max_tokens=rng.randrange(1, 100),
            arrival=rng.random() * 10,
            tenant=rng.choice("abc"),
            priority=rng.randrange(3),
        )
        seq = Seq(request, number, 4096)
        seq.planned = seq.computed = rng.randrange(seq.prompt_length)
        seq.blocks = list(range(-(-seq.planned // 4)))
        made.append(seq)
    return made


def check_order(make: Callable[[], OrderPolicy], *, starvation_bound: int | None = None) -> None:
    """Hold an order policy to its contract.

    A ranking is a permutation, the same for the same history; static keys do not depend on the time;
    displacing is never mutual; the policy copes with a busy engine; and, if it claims a starvation bound,
    a request of the worst rank finishes within that many steps of being submitted under sustained load.

    Args:
        make: returns a fresh policy.
        starvation_bound: engine steps, or None if the policy claims none.

    Raises:
        AssertionError: with the clause that was broken.
    """
    for seed in range(5):
        seqs = population(40, seed)
        first, second = make(), make()
        ranked = list(first.rank(list(seqs), 20.0))
        assert len(ranked) == len(seqs) and set(ranked) == set(seqs), "rank() must yield every sequence once"
        assert ranked == list(second.rank(list(seqs), 20.0)), "rank() must be deterministic"
        shuffled = random.Random(seed).sample(seqs, len(seqs))
        assert ranked == list(make().rank(shuffled, 20.0)), "rank() must not depend on the order of its input"
        for seq in seqs if first.static else []:
            assert first.key(seq, 0.0) == first.key(seq, 1e6), "a static key must not depend on the time"
        _check_index(make, seqs)
        for a, b in pairwise(seqs):
            mutual = first.may_displace(a, b, 20.0) and first.may_displace(b, a, 20.0)
            assert not mutual, "two sequences must not displace each other"
        for newcomer in seqs[:8]:
            answers = [first.may_displace(newcomer, other, 20.0) for other in ranked]
            assert answers == sorted(answers), "whoever may be displaced must rank below who may not"
    _check_work(make())
    steps = _run_under_load(make(), starvation_bound)
    if starvation_bound is not None:
        assert steps <= starvation_bound, f"starved: {steps} steps, {starvation_bound} claimed"


def _check_index(make: Callable[[], OrderPolicy], seqs: list[Seq]) -> None:
    """Taken one by one, everybody waiting is offered; whoever left the queue is not."""
    index = make().index()
    for seq in seqs:
        index.add(seq)
    index.remove(seqs[0])
    left = set(seqs[1:])
    while left:
        offered = next(index.candidates(20.0), None)
        assert offered is not None, "the index must offer somebody while anybody waits"
        assert offered in left, "the index offered a sequence that does not wait"
        index.remove(offered)
        left.discard(offered)
    assert next(index.candidates(20.0), None) is None, "an empty index must offer nobody"


def _check_work(policy: OrderPolicy) -> None:
    """Sorting by the policy's keys must take O(n log n) comparisons of comparable keys."""
    seqs = population(512, 9)
    _CountedKey.comparisons = 0
    sorted(seqs, key=lambda s: _CountedKey((policy.key(s, 20.0), s.number)))
    assert _CountedKey.comparisons <= 512 * 9 * 2, "keys must be comparable and totally ordered"


def _run_under_load(policy: OrderPolicy, bound: int | None) -> int:
    """Submit one request of the worst rank, then newcomers for ever; return the steps until it finished."""
    clock = ManualClock()
    spec = make_spec(slots=3, blocks=24, page_size=4)
    policies = Policies(
        order=policy,
        shape=Chunked(),
        preempt=Newest(),
        evict=LRU(),
        admit=Unlimited(),
        reserve=Known(),
        retain=NoRetention(),
    )
    engine = EngineCore(
        Scheduler(SchedulerState(spec, policies, max_seqs=3, max_tokens=16)),
        FakeExecutor(spec, clock=clock),
        clock,
    )
    engine.submit(make_request("worst", 30, max_tokens=8, priority=9, tenant="late"))
    limit = bound or 300
    for step in range(1, limit + 1):
        engine.submit(make_request(f"n{step}", 6, max_tokens=3, priority=0, tenant="busy"))
        clock.advance(0.1)
        if any(out.request_id == "worst" and out.finish for out in engine.tick()):
            return step
    return limit + 1


class FixedView:
    """An `EngineView` whose figures are given."""

    def __init__(self, **figures: Any) -> None:
        base = {"now": 1.0, "running": 4, "waiting": 4, "blocks_available": 10, "blocks_total": 64}
        self.__dict__.update(base | {"page_size": 4, "token_budget": 32, "step": 1, "cost": None} | figures)

    def running_sequences(self) -> list[SequenceView]:
        """Return nobody."""
        return []

    def cached_tokens(self, seq: SequenceView) -> int:
        """Return 0."""
        return 0


def check_shape(make: Callable[[], ShapePolicy]) -> None:
    """Hold a shape policy to its contract: positive budgets within the engine's, same answer twice.

    Raises:
        AssertionError: with the clause that was broken.
    """
    for running, waiting, budget in [(0, 0, 1), (0, 9, 32), (8, 0, 512), (64, 1000, 8192)]:
        view: Any = FixedView(running=running, waiting=waiting, token_budget=budget)
        shape = make().shape(view)
        assert shape == make().shape(view), "shape() must be deterministic"
        assert shape.tokens >= 1 and shape.chunk >= 1 and shape.prefill_tokens >= 1, (
            "budgets must be positive"
        )


def check_preempt(make: Callable[[], PreemptPolicy]) -> None:
    """Hold a preempt policy to its contract: one of the candidates, the same one each time.

    Raises:
        AssertionError: with the clause that was broken.
    """
    view: Any = FixedView()
    for seed in range(10):
        candidates: Sequence[SequenceView] = population(seed + 1, seed)
        for need in (1, 5, 1000):
            chosen = make().choose(candidates, need, view)
            assert any(chosen is c for c in candidates), "choose() must return one of the candidates"
            assert chosen is make().choose(candidates, need, view), "choose() must be deterministic"


def check_evict(make: Callable[[], EvictPolicy]) -> None:
    """Hold an evict policy to its contract: comparable keys, the same for the same node.

    Raises:
        AssertionError: with the clause that was broken.
    """

    class Node:
        def __init__(self, n: int) -> None:
            self.last_used, self.depth, self.hits, self.namespace = float(n % 7), n % 5 + 1, n % 3, "x"

    nodes: list[Any] = [Node(n) for n in range(50)]
    policy = make()
    keys = [policy.key(node) for node in nodes]
    assert keys == [make().key(node) for node in nodes], "key() must be deterministic"
    try:
        sorted(keys)
    except TypeError as error:
        raise AssertionError(f"keys must be comparable with each other: {error}") from None


def check_admit(make: Callable[[], AdmitPolicy]) -> None:
    """Hold an admit policy to its contract: an idle engine accepts; a refusal has a reason.

    Raises:
        AssertionError: with the clause that was broken.
    """
    spec: RequestSpec = make_request("a", 5)
    idle: Any = FixedView(running=0, waiting=0)
    assert make().decide(spec, idle) is None, "an idle engine must accept"
    full: Any = FixedView(waiting=10**9, blocks_available=0)
    refusal = make().decide(spec, full)
    assert refusal is None or refusal.reason, "a refusal must say why"
    assert refusal is None or refusal.retry_after is None or refusal.retry_after >= 0
