"""Rows of a step against a row-by-row construction."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.plan import SlotInit, WorkItem
from penstock.core.request import SamplingParams
from penstock.runtime.batch import build_batch
from penstock.runtime.slots import SlotTable

CPU = torch.device("cpu")
PAGE, MAX_LEN, SLOTS, VOCAB = 4, 40, 6, 100


@st.composite
def steps(draw, only_decodes=False):
    """A table with some sequences, and one work item for some of them."""
    table = SlotTable(SLOTS, MAX_LEN, PAGE, 64, VOCAB)
    free = draw(st.permutations(range(64)))
    items, used = [], 0
    for slot in draw(st.permutations(range(SLOTS)))[: draw(st.integers(1, SLOTS))]:
        known = draw(st.integers(1, MAX_LEN))
        start = known - 1 if only_decodes else draw(st.integers(0, known - 1))
        length = draw(st.integers(1, known - start))
        tokens = draw(st.lists(st.integers(0, VOCAB - 1), min_size=known, max_size=known))
        scored = draw(st.sampled_from([None, 2]))
        prompt_length = draw(st.integers(1, known))
        table.admit(
            SlotInit(
                slot, str(slot), tuple(tokens), prompt_length, SamplingParams(prompt_logprobs=scored), ()
            )
        )
        pages = -(-known // PAGE)
        entries = tuple(free[used : used + pages])
        used += pages
        items.append(WorkItem(slot, start, length, 0, entries, draw(st.booleans())))
    table.apply_tables(items)
    return table, tuple(items)


def naive(table, items):
    """The same rows, one at a time."""
    rows = {"tokens": [], "positions": [], "kv_slots": [], "samples": [], "prompts": []}
    for i, item in enumerate(items):
        for p in range(item.start, item.start + item.length):
            rows["tokens"].append(int(table.tokens[item.slot, p]))
            rows["positions"].append(p)
            rows["kv_slots"].append(item.table[p // PAGE] * PAGE + p % PAGE)
            asked = table.sampling.prompt_logprobs[item.slot] >= 0
            if asked and p + 1 < table.prompt_len[item.slot]:
                rows["prompts"].append((i, len(rows["tokens"]) - 1, int(table.tokens[item.slot, p + 1])))
        if item.sample:
            rows["samples"].append((i, item.slot, len(rows["tokens"]) - 1, item.start + item.length))
    return rows


def compare(table, items):
    batch = build_batch(items, table, CPU)
    want, rows = naive(table, items), batch.rows
    assert rows.tokens_N.tolist() == want["tokens"]
    assert rows.positions_N.tolist() == want["positions"]
    assert rows.kv_slots_N.tolist() == want["kv_slots"]
    assert rows.q_lens == [item.length for item in items]
    assert rows.kv_lens == [item.start + item.length for item in items]
    width = max(-(-n // PAGE) for n in rows.kv_lens)
    table_SB = [
        [item.table[b] if b < -(-n // PAGE) else 0 for b in range(width)]
        for item, n in zip(items, rows.kv_lens, strict=True)
    ]
    assert rows.block_table_SB.tolist() == table_SB
    got = zip(
        batch.sample_items_R.tolist(),
        batch.sample_slots_R.tolist(),
        rows.sample_rows_R.tolist(),
        batch.sample_positions_R.tolist(),
        strict=False,
    )
    assert list(got) == want["samples"]
    scored = [(p.item, p.first_row + j, int(t)) for p in batch.prompts for j, t in enumerate(p.targets)]
    assert scored == want["prompts"]
    assert rows.sample_rows_R.tolist() == [s[2] for s in want["samples"]] + [p[1] for p in want["prompts"]]
    assert rows.tokens_N.dtype == rows.positions_N.dtype == rows.kv_slots_N.dtype == torch.int64
    assert rows.sample_rows_R.dtype == torch.int64
    assert rows.block_table_SB.dtype == torch.int32


@settings(max_examples=100, deadline=None)
@given(steps())
def test_rows_equal_the_naive_construction(step):
    compare(*step)


@settings(max_examples=60, deadline=None)
@given(steps(only_decodes=True))
def test_decode_only_rows_equal_the_naive_construction(step):
    compare(*step)


def described(table, slot, tokens, pages, rid="r"):
    table.admit(SlotInit(slot, rid, tuple(tokens), len(tokens), SamplingParams(), ()))
    return WorkItem(slot, 0, len(tokens), 0, pages, True)


def test_building_rows_leaves_the_table_alone():
    table = SlotTable(2, MAX_LEN, PAGE, 64, VOCAB)
    items = (described(table, 0, range(3), (9, 8)), described(table, 1, range(9), (1, 2, 3)))
    table.apply_tables(items)
    before = table.table.copy()
    build_batch(items, table, CPU)
    assert np.array_equal(table.table, before)


def test_faulty_sequences_are_left_out_and_the_others_keep_their_item_index():
    table = SlotTable(3, MAX_LEN, PAGE, 64, VOCAB)
    items = (
        described(table, 0, [VOCAB], (0,)),
        described(table, 1, [5, 6], (1,)),
        described(table, 2, [-3], (2,)),
    )
    table.apply_tables(items)
    batch = build_batch(items, table, CPU)
    assert batch.faulty == (0, 2)
    assert batch.sample_items_R.tolist() == [1]
    assert batch.rows.tokens_N.tolist() == [5, 6]
    assert build_batch(items[:1], table, CPU) is None


def test_a_token_still_on_the_device_is_marked_as_carried():
    table = SlotTable(2, MAX_LEN, PAGE, 64, VOCAB)
    first = (described(table, 0, [5, 6], (1,)), described(table, 1, [1, 2, 3], (2,)))
    table.apply_tables(first)
    table.promise(np.array([1]), np.array([3]))
    items = (WorkItem(0, 1, 1, 1, (), True), WorkItem(1, 3, 1, 1, (), True))
    batch = build_batch(items, table, CPU)
    assert batch.carried_N.tolist() == [1]
    assert batch.carried_slots.tolist() == [1]
    assert batch.rows.tokens_N.tolist() == [6, 0]


@pytest.mark.parametrize("page", [1, 3, 32])
def test_any_page_size(page):
    table = SlotTable(1, 33, page, 64, VOCAB)
    pages = tuple(range(10, 10 + -(-33 // page)))
    item = described(table, 0, range(33), pages)
    table.apply_tables([item])
    batch = build_batch((item,), table, CPU)
    assert batch.rows.kv_slots_N.tolist() == [pages[p // page] * page + p % page for p in range(33)]
