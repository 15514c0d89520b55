"""The bounded queue: what it refuses, and that clients are told when there will be room."""

from types import SimpleNamespace

import pytest

from penstock.policies.admit.queue_bound import QueueBound
from penstock.policies.parse import parse_policy


def view(waiting=0, cost=None):
    return SimpleNamespace(waiting=waiting, cost=cost, token_budget=100)


def seq(length=10, preemptions=0):
    return SimpleNamespace(prompt_length=length, preemptions=preemptions)


def spec(length=10):
    return SimpleNamespace(prompt_ids=range(length))


def test_requests_are_bounded():
    policy = QueueBound(2, retry_after=7.0)
    assert policy.decide(spec(), view(1)) is None
    refusal = policy.decide(spec(), view(2))
    assert "2 requests are waiting, the limit is 2" in refusal.reason
    assert refusal.retry_after == 7.0, "nothing is known yet"


def test_prompt_tokens_are_bounded_but_an_empty_queue_takes_any():
    policy = parse_policy("admit", "queue-bound(100, tokens=50)")
    assert policy.decide(spec(500), view()) is None
    policy.on_arrive(seq(40), 0.0)
    assert policy.decide(spec(10), view(1)) is None
    assert "prompts of 40 tokens are waiting, the limit is 50" in policy.decide(spec(11), view(1)).reason


def test_what_is_told_is_what_was_measured():
    policy = QueueBound(4, tokens=100)
    waiting = [seq(20) for _ in range(20)]
    for one in waiting:
        policy.on_arrive(one, 0.0)
    for step, one in enumerate(waiting[:10], 1):  # one leaves every half second
        policy.on_admit(one, step / 2)
    assert policy.decide(spec(), view(10)).retry_after == pytest.approx(7 * 0.5)
    # 200 + 10 tokens where 100 may be, and 40 leave in a second.
    assert policy.decide(spec(), view(3)).retry_after == pytest.approx(110 / 40)


def test_time_without_a_queue_tells_nothing():
    policy = QueueBound(1)
    for start in (0.0, 1000.0):
        for one in (first := [seq() for _ in range(5)]):
            policy.on_arrive(one, start)
        for step, one in enumerate(first, 1):
            policy.on_admit(one, start + step)
    assert policy.decide(spec(), view(1)).retry_after == pytest.approx(1.0)


def test_the_preempted_and_the_abandoned_are_counted_right():
    policy = QueueBound(9, tokens=10)
    one, other = seq(10), seq(10)
    policy.on_arrive(one, 0.0)
    policy.on_arrive(other, 0.0)
    policy.on_admit(one, 1.0)
    policy.on_admit(SimpleNamespace(prompt_length=10, preemptions=1), 2.0)
    policy.on_finish(one, 3.0, True)
    policy.on_finish(other, 3.0, False)
    assert policy._queued == [0, 0]


def test_step_times_tell_where_nothing_was_measured():
    policy = QueueBound(1, retry_after=9.0)
    policy.on_arrive(seq(250), 0.0)
    cost = SimpleNamespace(step=lambda shape: shape.prefill_tokens / 100)
    assert policy.decide(spec(), view(1, cost)).retry_after == pytest.approx(3.0)


@pytest.mark.parametrize("text", ["queue-bound(0)", "queue-bound(1.5)", "queue-bound(3, tokens=1.5)"])
def test_nonsense_is_refused(text):
    with pytest.raises(Exception, match="whole number"):
        parse_policy("admit", text)
