"""Pool, prefix index and KV manager, each on its own."""

import random

import pytest

from penstock.core.kv.manager import KVManager
from penstock.core.kv.pool import BlockPool
from penstock.core.sequence import Sequence
from penstock.policies.evict.lru import LRU
from penstock.testing.builders import make_request


def manager(blocks=16, page=4, caching=True):
    return KVManager(blocks, page, LRU(), prefix_caching=caching, fingerprint="m")


def sequence(tokens, number=0, **fields):
    return Sequence(make_request(f"s{number}", tokens, **fields), number, 1000)


def run(kv, seq):
    """Admit a sequence and compute all of its prompt."""
    assert kv.acquire(seq, 0)
    seq.computed = seq.planned = seq.target
    kv.commit(seq)


def test_release_waits_for_its_ticket():
    pool = BlockPool(4)
    blocks = pool.allocate(3)
    pool.release(blocks, ticket=2)
    pool.land(1)
    assert pool.free == 1 and pool.fenced == 3
    with pytest.raises(ValueError, match="2 blocks wanted, 1 free"):
        pool.allocate(2)
    pool.land(2)
    assert pool.free == 4 and pool.fenced == 0


@pytest.mark.parametrize("misuse", ["share free", "keep twice", "discard held", "release twice"])
def test_pool_refuses_misuse(misuse):
    pool = BlockPool(2)
    (block,) = pool.allocate(1)
    if misuse == "share free":
        with pytest.raises(ValueError, match="free"):
            pool.share(1 - block)
    if misuse == "keep twice":
        pool.keep(block)
        with pytest.raises(ValueError, match="not kept"):
            pool.keep(block)
    if misuse == "discard held":
        pool.keep(block)
        with pytest.raises(ValueError, match="not reclaimable"):
            pool.discard(block)
    if misuse == "release twice":
        pool.release([block], 0)
        with pytest.raises(ValueError, match="more often"):
            pool.release([block], 0)


def test_prefix_is_shared_and_always_leaves_a_token_to_compute():
    kv = manager()
    first = sequence(list(range(12)))
    run(kv, first)
    second = sequence(list(range(12)), 1)
    assert kv.acquire(second, 0)
    assert second.computed == 8, "the page with the last token must be computed again"
    assert second.blocks[:2] == first.blocks[:2] and second.blocks[2] != first.blocks[2]


def test_namespaces_do_not_share():
    kv = manager()
    run(kv, sequence(list(range(9))))
    other = sequence(list(range(9)), 1, cache_namespace="tenant-b")
    adapted = sequence(list(range(9)), 2, adapter="style")
    same = sequence(list(range(9)), 3)
    assert [len(kv.probe(s)) for s in (other, adapted, same)] == [0, 0, 2]


def test_prompt_logprobs_take_nothing_from_the_cache():
    kv = manager()
    run(kv, sequence(list(range(9))))
    assert kv.probe(sequence(list(range(9)), 1, prompt_logprobs=1)) == []


def test_twins_end_up_with_one_copy():
    kv = manager()
    twins = [sequence(list(range(8)), n) for n in range(2)]
    for seq in twins:
        assert kv.acquire(seq, 0)
    free = kv.pool.free
    for seq in twins:
        seq.table_sent = 2
        seq.computed = seq.planned = 8
        kv.commit(seq)
    assert twins[0].blocks == twins[1].blocks
    assert kv.pool.free == free + 2 and twins[1].table_sent == 0


def test_lru_evicts_leaves_first_and_never_what_is_held():
    kv = manager(blocks=8)
    held, old, new = (sequence([n] * 8 + [9], n) for n in range(3))
    for now, seq in enumerate((held, old)):
        kv.index.now = float(now)
        run(kv, seq)
    kv.release(old)
    kv.index.now = 5.0
    assert kv.pool.reclaimable == 2 and kv.available == 5
    big = sequence([7] * 19, 4)
    assert kv.acquire(big, 0)
    assert len(kv.probe(sequence([0] * 8 + [9], 5))) == 2, "held pages stay"
    assert len(kv.probe(sequence([1] * 8 + [9], 6))) == 0, "idle ones went"
    assert not kv.acquire(new, 0) and new.blocks == []


def test_eviction_keeps_the_recently_used():
    kv = manager(blocks=6)
    for now, n in enumerate((1, 2)):
        kv.index.now = float(now)
        seq = sequence([n] * 4 + [9], n)
        run(kv, seq)
        kv.release(seq)
    kv.index.now = 9.0
    again = sequence([1] * 4 + [9], 7)
    assert kv.acquire(again, 0)
    kv.release(again)
    kv.index.shrink(1)
    assert len(kv.probe(sequence([1] * 5, 8))) == 1 and len(kv.probe(sequence([2] * 5, 9))) == 0


def test_rollback_gives_surplus_blocks_back():
    kv = manager()
    seq = sequence(list(range(4)))
    run(kv, seq)
    assert kv.grow(seq, 13)
    seq.planned, seq.table_sent = 13, 4
    with pytest.raises(ValueError, match="cannot roll back 10 of 9"):
        kv.rollback(seq, 10)
    kv.rollback(seq, 8)
    assert seq.planned == 5 and len(seq.blocks) == 2 and seq.table_sent == 2 and seq.room == 8


def test_reset_forgets_everything_unless_in_use():
    kv = manager()
    seq = sequence(list(range(9)))
    run(kv, seq)
    assert not kv.reset()
    kv.release(seq)
    assert kv.reset() and kv.pool.free == 16 and len(kv.index) == 0


def test_hit_rate_equals_an_infinite_cache_when_memory_suffices():
    """Multi-turn conversations: every turn finds all full pages of the turns before it."""
    rng = random.Random(1)
    kv, page = manager(blocks=500), 4
    for chat in range(5):
        history = [100 + chat]
        for turn in range(6):
            prompt = history + [rng.randrange(50) for _ in range(rng.randrange(1, 20))]
            seq = sequence(prompt, chat * 10 + turn)
            known = len(history) // page * page if turn else 0
            assert kv.acquire(seq, 0)
            assert seq.computed == min(known, (len(prompt) - 1) // page * page)
            seq.computed = seq.planned = len(prompt)
            kv.commit(seq)
            kv.release(seq)
            history = prompt
    assert kv.available == 500


def test_asking_again_what_is_cached_agrees_with_a_full_match():
    kv, rng, now = manager(blocks=24), random.Random(3), 0.0
    waiting = [sequence([rng.randrange(2) for _ in range(rng.randrange(1, 30))], n) for n in range(20)]
    for step in range(300):
        kv.index.now = now = now + 1.0
        other = sequence([rng.randrange(2) for _ in range(rng.randrange(1, 24))], 100 + step)
        run(kv, other)
        kv.release(other)
        if step % 3 == 0:
            kv.index.shrink(rng.randrange(24))
        for seq in rng.sample(waiting, 5):
            assert kv.cached_tokens(seq) == len(kv.probe(seq)) * kv.page
    assert kv.reset() and not any(kv.cached_tokens(seq) for seq in waiting)
    silent = manager(caching=False)
    run(silent, sequence(range(20)))
    assert silent.cached_tokens(sequence(range(20), 1)) == 0
