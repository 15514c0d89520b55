"""The slot table turns differences into sequences, and refuses plans that refer to anything never given."""

import numpy as np
import pytest

from penstock.core.errors import StepFault
from penstock.core.plan import SlotInit, WorkItem
from penstock.core.request import SamplingParams
from penstock.runtime.slots import SlotTable


def table(slots=4, max_len=32, page=4, blocks=16, vocab=50):
    return SlotTable(slots, max_len, page, blocks, vocab)


def init(slot, tokens, prompt_length=None, rid="r", eos=(), **sampling):
    sampling = SamplingParams(**sampling)
    return SlotInit(slot, rid, tuple(tokens), prompt_length or len(tokens), sampling, eos)


def ints(*values):
    return np.array(values, np.int64)


def test_admit_replaces_everything_the_slot_held():
    t = table()
    t.admit(init(1, range(9), temperature=0.5, top_k=3))
    t.apply_tables([WorkItem(1, 0, 9, 0, (5, 6, 7), True)])
    t.fail(1, "broken")
    t.admit(init(1, [4, 3], temperature=0.0))
    assert t.history(1, 0, 2).tolist() == [4, 3]
    assert (t.known[1], t.landed[1], t.prompt_len[1], t.table_len[1]) == (2, 2, 2, 0)
    assert not t.faulty[1]
    assert (t.sampling.temperature[1], t.sampling.top_k[1]) == (0.0, 0)


def test_table_differences_overwrite_from_their_index():
    t = table()
    t.admit(init(0, range(20)))
    t.apply_tables([WorkItem(0, 0, 8, 0, (3, 4), False)])
    t.apply_tables([WorkItem(0, 8, 8, 2, (9, 1), False)])
    assert t.table[0, :4].tolist() == [3, 4, 9, 1]
    t.apply_tables([WorkItem(0, 8, 8, 1, (7,), False)])
    assert (t.table[0, :2].tolist(), t.table_len[0]) == ([3, 7], 2)
    t.apply_tables([WorkItem(0, 8, 8, 2, (), False)])
    assert t.table_len[0] == 2


@pytest.mark.parametrize(("where", "entries"), [(0, (16,)), (0, (-1,)), (7, (1, 2))])
def test_pages_that_do_not_exist_are_a_step_fault(where, entries):
    t = table()
    t.admit(init(0, range(4)))
    with pytest.raises(StepFault, match="pages that do not exist"):
        t.apply_tables([WorkItem(0, 0, 4, where, entries, False)])


def test_check_names_the_request_and_the_reason():
    t = table()
    t.admit(init(0, range(6), rid="good"))
    t.admit(init(2, range(6), rid="bad"))
    t.apply_tables([WorkItem(0, 0, 6, 0, (0, 1), False), WorkItem(2, 0, 6, 0, (2,), False)])
    t.check(ints(0), ints(6))
    with pytest.raises(StepFault, match="'bad' in slot 2: its block table is too short"):
        t.check(ints(0, 2), ints(6, 6))
    with pytest.raises(StepFault, match="'good' in slot 0: the plan goes beyond its known tokens"):
        t.check(ints(0), ints(7))
    t.free([0])
    with pytest.raises(StepFault, match="slot 0 holds no sequence"):
        t.check(ints(0), ints(6))


@pytest.mark.parametrize("bad", [50, -1, 2**40, 2**70])
def test_token_ids_outside_the_vocabulary_make_the_sequence_faulty(bad):
    t = table()
    t.admit(init(0, [1, 2, bad, 3]))
    assert t.faulty[0]
    assert t.fault_text[0].startswith("prompt: token id")
    t.admit(init(0, [1, 2, 3]))
    assert not t.faulty[0]


def test_a_prompt_longer_than_the_context_makes_the_sequence_faulty():
    t = table(max_len=32)
    t.admit(init(0, [1] * 33))
    assert "exceed the context of 32" in t.fault_text[0]


@pytest.mark.parametrize(
    "sampling",
    [{"logit_bias": {50: 1.0}}, {"allowed_token_ids": (3, -1)}, {"bad_words": ((2, 60),)}],
    ids=lambda s: next(iter(s)),
)
def test_sampling_ids_outside_the_vocabulary_name_their_field(sampling):
    t = table()
    t.admit(init(0, [1], **sampling))
    assert t.faulty[0]
    assert t.fault_text[0].startswith(f"{next(iter(sampling))}: token id")


def test_a_slot_that_does_not_exist_is_a_step_fault():
    with pytest.raises(StepFault, match="slot 4"):
        table(slots=4).admit(init(4, [1]))


def test_promised_tokens_may_be_referred_to_before_they_land():
    t = table()
    t.admit(init(0, [1, 2, 3]))
    t.apply_tables([WorkItem(0, 0, 3, 0, (0, 1), True)])
    epochs = t.epoch[ints(0)]
    t.promise(ints(0), ints(3))
    t.check(ints(0), ints(4))
    assert (t.known[0], t.landed[0]) == (4, 3)
    t.write(ints(0), ints(3), epochs, ints(42))
    assert (t.known[0], t.landed[0], t.tokens[0, 3]) == (4, 4, 42)


def test_a_late_token_does_not_reach_the_next_owner_of_the_slot():
    t = table()
    t.admit(init(0, [1, 2, 3]))
    epochs = t.epoch[ints(0)].copy()
    t.promise(ints(0), ints(3))
    t.admit(init(0, [7, 7, 7, 7, 7]))
    t.write(ints(0), ints(3), epochs, ints(42))
    assert t.history(0, 0, 5).tolist() == [7] * 5
    assert t.landed[0] == 5
