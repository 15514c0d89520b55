"""Limits: no interleaving exceeds them, nothing leaks, and what a refused client is told is true."""

import asyncio
import math

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import Overloaded
from penstock.core.output import FinishReason
from penstock.frontend.intake import Prepared
from penstock.frontend.params import GenerationParams
from penstock.server.app import create_app
from penstock.server.errors import APIError
from penstock.server.limits import Limiter
from penstock.server.pace import Pace
from penstock.server.principal import Limits, Principal
from penstock.server.window import GRAIN, Window
from tests.server.fakes import CONFIG

CONTEXT = 256


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def limiter():
    clock = Clock()
    return Limiter(Pace(clock), clock), clock


def who(name="a", tenant="acme", own=None, **limits):
    return Principal(name=name, tenant=tenant, limits=Limits(**limits), key_limits=Limits(**(own or {})))


def prompt(length=10, **params):
    return Prepared(prompt_ids=tuple(range(length)), prompt=None, params=GenerationParams(**params))


# The window


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 160), st.integers(1, 8), st.booleans()), max_size=60),
    st.integers(8, 30),
)
def test_no_minute_holds_more_than_the_limit(steps, limit):
    window, now, uses = Window(), 0.0, []
    for pause, amount, give_back in steps:
        now += pause / 8  # exact in binary, so that sums are
        wait = window.wait(amount, limit, now)
        if wait == 0:
            entry = window.add(amount, now)
            if give_back:
                window.give_back(entry, amount - 1)
                amount = 1
            uses.append((now, amount))
        else:
            # What is foretold is exact: just before there is no room, and then there is.
            assert window.wait(amount, limit, now + wait - 1 / 16) > 0
            now += wait
            assert window.wait(amount, limit, now) == 0
        for start, _ in uses:
            assert sum(each for at, each in uses if start <= at < start + 60) <= limit
    assert window.used(now + 60) == 0 and window.resets(now + 60) == 0


def test_a_window_waits_only_as_long_as_it_must():
    window = Window()
    window.add(3, 0.0)
    window.add(3, 10.0)
    assert window.wait(1, 6, 20.0) == 40.0 and window.wait(4, 6, 20.0) == 50.0
    assert window.wait(7, 6, 20.0) == math.inf
    assert window.resets(20.0) == 50.0


def test_a_window_stays_small_and_forgets_what_left():
    window = Window()
    old = window.add(5, 0.0)
    for step in range(100_000):
        window.add(1, 100 + step * 0.01)
    assert len(window._entries) <= 60 / GRAIN + 2
    before = window.used(1100.0)
    window.give_back(old, 5)
    assert window.used(1100.0) == before


# The limiter


class Run:
    """One request of the model: what it holds, as the test counts it."""

    def __init__(self, lease, principal, at):
        self.lease, self.principal, self.at = lease, principal, at
        self.reserved, self.generated, self.admitted = 0, 0, False


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "reserve", "admit", "news", "close", "wait"]),
        st.integers(0, 7),
        st.integers(1, 40),
    ),
    max_size=120,
)


@settings(max_examples=120, deadline=None)
@given(COMMANDS)
def test_no_interleaving_exceeds_any_limit_and_nothing_leaks(commands):
    keeper, clock = limiter()
    tenant = {
        "requests_per_minute": 6,
        "tokens_per_minute": 120,
        "concurrent_requests": 3,
        "queued_requests": 2,
    }
    people = [who("a", own={"requests_per_minute": 4}, **tenant), who("b", **tenant), who("c", "free")]
    live, done = [], []
    for command, pick, amount in commands:
        if command == "wait":
            clock.now += amount / 2
        elif command == "enter":
            principal = people[pick % 3]
            try:
                live.append(Run(keeper.enter(principal), principal, clock.now))
            except APIError as error:
                assert error.status == 429 and 0 <= error.retry_after <= 600
        elif live:
            advance(live, live[pick % len(live)], command, amount, clock.now, done)
        check(live, done)
    for run in list(live):
        run.lease.close()
    for account in keeper._accounts.values():
        assert not account.live
        used = sum(
            r.generated + r.prompt
            for r in done + live
            if r.admitted and mine(account, r) and r.at > clock.now - 60
        )
        assert account.tokens.used(clock.now) >= used
    clock.now += 61
    for account in keeper._accounts.values():
        assert account.requests.used(clock.now) == account.tokens.used(clock.now) == 0
    assert not keeper.pace._live


def mine(account, run):
    return account.title in (f"tenant {run.principal.tenant!r}", f"key {run.principal.name!r}")


def advance(live, run, command, amount, now, done):
    if command == "reserve" and not run.reserved:
        try:
            (bounded,) = run.lease.reserve([prompt(amount, max_tokens=20)], CONTEXT)
        except APIError as error:
            assert error.status in (400, 429)
            run.lease.close()
            live.remove(run)
            return
        run.prompt, run.most, run.reserved = (
            amount,
            bounded.params.max_tokens,
            amount + bounded.params.max_tokens,
        )
        run.at = now
    elif command == "admit" and run.reserved:
        run.admitted = True
        run.lease.admitted()
    elif command == "news" and run.admitted:
        step = min(amount, run.most - run.generated)
        run.generated += step
        run.lease.news(step)
    elif command == "close":
        run.lease.close()
        run.lease.close()
        live.remove(run)
        if run.admitted:
            done.append(run)


def check(live, done):
    acme = [run for run in live if run.principal.tenant == "acme"]
    assert len(acme) <= 3
    counted = [run for run in [*live, *done] if run.principal.tenant == "acme" and run.admitted]
    for first in counted:
        near = [run for run in counted if first.at <= run.at < first.at + 60]
        assert len(near) <= 6 and sum(run.principal.name == "a" for run in near) <= 4
        assert sum(run.prompt + run.generated for run in near) <= 120


def test_a_refused_request_costs_nothing():
    keeper, _ = limiter()
    someone = who(requests_per_minute=2, tokens_per_minute=100)
    for _ in range(10):
        lease = keeper.enter(someone)
        with pytest.raises(APIError) as caught:
            lease.reserve([prompt(90, max_tokens=20), prompt(60)], CONTEXT)
        assert caught.value.status == 400 and caught.value.code == "request_too_large"
        lease.close()
    for _ in range(2):
        lease = keeper.enter(someone)
        lease.reserve([prompt(10, max_tokens=20)], CONTEXT)
        lease.admitted()
        lease.close()
    with pytest.raises(APIError, match="2 requests per minute"):
        keeper.enter(someone)


def test_what_was_reserved_is_settled_to_what_was_used():
    keeper, clock = limiter()
    someone = who(tokens_per_minute=100)
    lease = keeper.enter(someone)
    lease.reserve([prompt(10, max_tokens=20)], CONTEXT)
    lease.admitted()
    assert lease.headers()["x-ratelimit-remaining-tokens"] == "70"
    other = keeper.enter(someone)
    with pytest.raises(APIError) as caught:
        other.reserve([prompt(60, max_tokens=20)], CONTEXT)
    assert caught.value.retry_after == 60 and caught.value.status == 429
    lease.news(4)
    lease.close()
    other.reserve([prompt(60, max_tokens=20)], CONTEXT)
    clock.now += 1.5
    assert other.headers() == {
        "x-ratelimit-limit-tokens": "100",
        "x-ratelimit-remaining-tokens": "6",
        "x-ratelimit-reset-tokens": "58.5s",
    }


def test_the_tightest_account_is_told():
    keeper, _ = limiter()
    lease = keeper.enter(who(requests_per_minute=100, own={"requests_per_minute": 5}))
    assert lease.headers()["x-ratelimit-limit-requests"] == "5"
    assert lease.headers()["x-ratelimit-remaining-requests"] == "4"


@pytest.mark.parametrize(
    ("limits", "params", "chat", "expected"),
    [
        ({}, {}, True, None),
        ({"max_tokens": 50}, {}, True, 50),
        ({"max_tokens": 50}, {"max_tokens": 90}, False, 50),
        ({"max_tokens": 50}, {"max_tokens": 20}, False, 20),
        ({"max_tokens": 50}, {}, False, None),
        ({"max_tokens": 50}, {"max_tokens": 9000}, False, 9000),
        ({"tokens_per_minute": 100}, {}, True, 25),
        ({"tokens_per_minute": 100}, {"n": 5}, True, 5),
        ({"tokens_per_minute": 20}, {}, True, 5),
    ],
)
def test_answers_are_bounded_by_what_may_be_used(limits, params, chat, expected):
    keeper, _ = limiter()
    lease = keeper.enter(who(**limits))
    one = msgspec.structs.replace(prompt(10, **params), chat=chat)
    (bounded,) = lease.reserve([one], CONTEXT)
    assert bounded.params.max_tokens == expected


def test_embeddings_reserve_their_prompt_alone():
    keeper, _ = limiter()
    lease = keeper.enter(who(tokens_per_minute=10))
    lease.reserve([prompt(10, pooling="mean")], CONTEXT)
    assert lease.headers()["x-ratelimit-remaining-tokens"] == "0"


def test_limits_of_a_new_keys_file_hold_for_what_runs_already():
    keeper, _ = limiter()
    first = keeper.enter(who())
    with pytest.raises(APIError, match="as many as it may"):
        keeper.enter(who(concurrent_requests=1))
    first.close()
    keeper.enter(who(concurrent_requests=1)).close()


# The pace


def test_when_to_come_back_follows_from_what_was_measured():
    keeper, clock = limiter()
    someone = who(concurrent_requests=2, queued_requests=5)
    leases = [keeper.enter(someone) for _ in range(2)]
    for lease in leases:
        lease.reserve([prompt(10, max_tokens=100)], CONTEXT)
        lease.admitted()
    with pytest.raises(APIError) as caught:
        keeper.enter(someone)
    assert caught.value.retry_after == 1.0, "nothing is known yet"
    for _ in range(50):  # 20 tokens a second, 10 for each
        clock.now += 0.1
        for lease in leases:
            lease.news(1)
    with pytest.raises(APIError) as caught:
        keeper.enter(someone)
    assert caught.value.retry_after == pytest.approx(5.0, rel=0.3), (
        "50 of 100 tokens are left, at 10 a second"
    )


def test_the_cost_model_tells_before_anything_was_measured():
    class Cost:
        def step(self, shape):
            return 0.05 if shape.prefill_tokens else 0.02

    clock = Clock()
    keeper = Limiter(Pace(clock, Cost()), clock)
    someone = who(concurrent_requests=1)
    lease = keeper.enter(someone)
    lease.reserve([prompt(100, max_tokens=100)], CONTEXT)
    with pytest.raises(APIError) as caught:
        keeper.enter(someone)
    assert caught.value.retry_after == pytest.approx(100 * 0.02 + 100 / 512 * 0.05)


def test_waiting_requests_are_bounded():
    keeper, clock = limiter()
    someone = who(queued_requests=1)
    lease = keeper.enter(someone)
    lease.reserve([prompt(40)], CONTEXT)
    lease.admitted()
    with pytest.raises(APIError, match="1 requests waiting") as caught:
        keeper.enter(someone)
    assert caught.value.retry_after >= 1
    clock.now += 2.0
    lease.news(1)
    keeper.enter(someone)


# Over HTTP

KEYS = """
[tenants.small]
requests_per_minute = 3
tokens_per_minute = 300
concurrent_requests = 2
[[keys]]
name = "k"
key = "k"
tenant = "small"
"""
BY = {"Authorization": "Bearer k"}


@pytest.fixture
async def client(engine, tmp_path):
    (tmp_path / "keys.toml").write_text(KEYS)
    server = msgspec.structs.replace(CONFIG.server, keys=str(tmp_path / "keys.toml"))
    app = create_app(engine, msgspec.structs.replace(CONFIG, server=server))
    engine.app = app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield client


def ask(client, **body):
    return client.post("/v1/completions", json={"prompt": "x" * 10, "max_tokens": 5, **body}, headers=BY)


@pytest.mark.anyio
async def test_answers_carry_what_is_left_and_refusals_when_to_come_back(client, engine):
    for left in (2, 1, 0):
        reply = await ask(client, stream=left == 1)
        assert reply.status_code == 200
        assert reply.headers["x-ratelimit-remaining-requests"] == str(left)
        assert int(reply.headers["x-ratelimit-limit-tokens"]) == 300
    reply = await ask(client)
    assert reply.status_code == 429 and 59 <= int(reply.headers["retry-after"]) <= 60
    error = reply.json()["error"]
    assert error["type"] == "rate_limit_error" and error["code"] == "rate_limit_exceeded"
    assert (
        "3 requests per minute" in error["message"] and reply.headers["x-ratelimit-remaining-requests"] == "0"
    )
    assert len(engine.asked) == 3


@pytest.mark.anyio
@pytest.mark.parametrize(
    "how",
    [
        "refused",
        "too long",
        "failed",
        "left",
        "cancelled while admitted",
        "aborted while admitted",
        "timeout",
    ],
)
async def test_whatever_way_it_ends_nothing_stays_taken(client, engine, how):
    keeper = engine.app.state.service.limiter
    expected = 0
    if how == "refused":
        engine.refusal = Overloaded("full", 3.0)
        assert (await ask(client)).status_code == 503
    elif how == "too long":
        assert (await ask(client, prompt="x" * 500)).status_code == 400
    elif how == "failed":
        engine.fail_at, engine.failure = 1, (FinishReason.ERROR, "the engine was restarted")
        assert (await ask(client)).status_code == 500
        expected = 1
    elif how == "aborted while admitted":
        submit = engine.submit

        async def stopped(*args, **kwargs):
            stream = await submit(*args, **kwargs)
            await client.post("/abort", json={"abort_all": True}, headers=BY)
            return stream

        engine.submit = stopped
        assert (await ask(client)).status_code == 499
        expected = 1
    else:
        engine.hold = True
        if how == "cancelled while admitted":
            admitted = asyncio.Event()

            async def forever(*args, **kwargs):
                admitted.set()
                await asyncio.sleep(3600)

            engine.submit = forever
        task = asyncio.create_task(ask(client, timeout_ms=50 if how == "timeout" else None))
        if how == "timeout":
            assert (await task).status_code == 504
        else:
            async with asyncio.timeout(5):
                while not (engine.running or (how != "left" and admitted.is_set())):
                    await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        expected = 1  # also of one who leaves while the engine takes it in: the engine may have done so
    account = keeper._accounts["tenant", "small"]
    now = keeper.clock()
    assert not account.live and not keeper.pace._live and engine.running == {}
    assert account.requests.used(now) == expected
    assert account.tokens.used(now) <= expected * 15
    assert engine.app.state.service.live == {}


@pytest.mark.anyio
async def test_no_more_run_at_once_than_may(client, engine):
    engine.hold = True
    tasks = [asyncio.create_task(ask(client)) for _ in range(5)]
    done, running = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 3:
        more, running = await asyncio.wait(running, timeout=1, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result().status_code for task in done} == {429} and len(engine.running) == 2
    engine.hold = False
    assert [task.result().status_code for task in (await asyncio.wait(running))[0]] == [200, 200]
