"""Stored responses: bounded in bytes and time, apart by owner."""

import pytest

from penstock.server.errors import APIError
from penstock.server.principal import Principal
from penstock.server.responses.objects import new_response
from penstock.server.responses.store import ResponseStore, owner_of
from penstock.server.schemas.responses import ResponsesRequest

BODY = ResponsesRequest.model_validate({"input": "q"})


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def response(name, status="completed"):
    import msgspec

    return msgspec.structs.replace(new_response(BODY, name, "m", True), status=status)


@pytest.fixture
def clock():
    return Clock()


def make(clock, max_bytes=10_000, ttl=60.0):
    return ResponseStore(max_bytes, ttl, clock)


def put(store, owner, name, size=1000, status="completed"):
    return store.keep(owner, response(name, status), [], [{"role": "user", "content": "x" * size}])


def absent(store, owner, name):
    with pytest.raises(APIError) as caught:
        store.get(owner, name)
    return caught.value.status == 404


def test_only_its_owner_finds_a_response(clock):
    store = make(clock)
    put(store, "a", "r")
    assert store.get("a", "r").response.id == "r" and absent(store, "b", "r")
    with pytest.raises(APIError):
        store.delete("b", "r")
    store.delete("a", "r")
    assert absent(store, "a", "r") and len(store) == store.bytes == 0


def test_responses_expire_but_not_while_they_are_generated(clock):
    store = make(clock)
    put(store, "a", "live", status="in_progress")
    put(store, "a", "old")
    clock.now = 61
    assert absent(store, "a", "old") and store.get("a", "live")
    put(store, "a", "live")
    assert store.get("a", "live").live is False
    clock.now = 122
    assert absent(store, "a", "live") and store.bytes == 0


def test_the_oldest_of_the_heaviest_owner_makes_room(clock):
    store = make(clock)
    put(store, "small", "s1")
    for i in range(30):
        put(store, "big", f"b{i}")
        assert store.bytes <= 10_000
    assert store.get("small", "s1") and absent(store, "big", "b0") and store.get("big", "b29")


def test_what_is_larger_than_the_store_is_not_kept(clock):
    store = make(clock)
    put(store, "a", "r", size=20_000)
    assert absent(store, "a", "r") and store.bytes == 0


def test_live_responses_are_not_dropped_for_room(clock):
    store = make(clock)
    put(store, "a", "live", size=9_000, status="queued")
    put(store, "a", "r", size=5_000)
    assert store.get("a", "live") and absent(store, "a", "r")


def test_replacing_counts_once(clock):
    store = make(clock)
    first = put(store, "a", "r").size
    put(store, "a", "r")
    assert store.bytes == first and len(store) == 1


def test_keys_of_one_tenant_share_and_tenants_do_not():
    assert owner_of(Principal(name="k1", tenant="t")) == owner_of(Principal(name="k2", tenant="t"))
    assert owner_of(Principal(name="t")) != owner_of(Principal(name="x", tenant="t"))
    assert owner_of(Principal()) == ""
