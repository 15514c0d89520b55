"""The quota: so many accepted requests of a tenant in any 60 seconds."""

import pytest

from penstock.core.errors import ConfigError, Overloaded
from penstock.policies.parse import parse_policy
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.conformance import check_admit

NUMBERS = iter(range(10**6))


def send(s, tenant, now):
    s.submit(make_request(f"r{next(NUMBERS)}", 3, tenant=tenant), now)


def test_over_the_quota_is_refused_with_the_seconds_to_wait():
    s = make_scheduler(make_spec(), admit="rpm(2)")
    send(s, "a", 10.0)
    send(s, "a", 25.0)
    with pytest.raises(Overloaded) as refusal:
        send(s, "a", 30.0)
    assert refusal.value.retry_after == pytest.approx(40.0)
    send(s, "b", 30.0)
    send(s, "a", 70.5)  # the first one has left the window; the refused one never counted
    with pytest.raises(Overloaded):
        send(s, "a", 71.0)


def test_quiet_tenants_are_forgotten():
    policy = parse_policy("admit", "rpm(5)")
    s = make_scheduler(make_spec(), admit="rpm(5)")
    policy = s.state.policies.admit
    for number in range(20):
        send(s, f"t{number}", float(number))
    send(s, "late", 500.0)
    assert set(policy._accepted) == {"late"}


def test_it_asks_another_policy_first():
    s = make_scheduler(make_spec(), admit="rpm(9, queue-bound(1))")
    send(s, "a", 0.0)
    with pytest.raises(Overloaded, match="waiting"):
        send(s, "a", 1.0)
    check_admit(lambda: parse_policy("admit", "rpm(9, queue-bound(1))"))


@pytest.mark.parametrize("text", ["rpm", "rpm(0)", "rpm(1.5)", "rpm(3, 4)"])
def test_bad_quotas_are_refused(text):
    with pytest.raises(ConfigError):
        parse_policy("admit", text)
