"""Masks of running sequences: in step with their tokens, and whole when a library is not."""

import threading

import numpy as np
import pytest
import torch

from penstock.core.plan import SlotInit
from penstock.core.request import SamplingParams
from penstock.runtime.grammar import masks as module
from penstock.runtime.grammar.masks import GrammarMasks
from penstock.runtime.sampler.restrain import restrain_plain
from penstock.runtime.sampler.sampler import Sampler
from penstock.runtime.slots import SlotTable
from tests.runtime.grammar.local import EOS, LocalGrammars, byte_vocabulary, spec

VOCABULARY = byte_vocabulary()


def init(slot, text, generated=(), vocabulary=VOCABULARY, **sampling):
    grammar = None if text is None else spec("regex", text)
    params = SamplingParams(**{"max_tokens": 50, "seed": slot, **sampling})
    return SlotInit(slot, f"r{slot}", (5, *generated), 1, params, vocabulary.stop_ids, None, grammar)


def ready(source, *inits):
    for one in inits:
        if one.grammar is not None:
            source.compile(one.grammar)
    masks = GrammarMasks(source, source.vocabulary.size)
    for one in inits:
        assert masks.admit(one) is None
    return masks


def words(taken, row):
    bits = np.unpackbits(taken.masks_XW[taken.rows_X.index(row)].view(np.uint8), bitorder="little")
    return {VOCABULARY.tokens[i] or i for i in np.flatnonzero(bits)}


def test_masks_follow_the_tokens_that_land():
    masks = ready(LocalGrammars(VOCABULARY), init(0, "ab?"), init(1, None), init(2, "xy"))
    taken = masks.take([2, 1, 0])
    assert taken.rows_X == [0, 2]
    assert words(taken, 0) == {b"x"}
    assert words(taken, 2) == {b"a", b"ab"}
    masks.accept([0, 1, 2], [ord("a"), 9, ord("x")])
    taken = masks.take([0, 1, 2])
    assert words(taken, 0) == {b"b", EOS}
    assert words(taken, 2) == {b"y"}
    masks.accept([2], [ord("y")])
    assert masks.take([2]).over == {0: EOS}
    assert masks.take([1]) is None
    masks.drop([0, 2])
    assert masks.take([0, 1, 2]) is None


def test_a_sequence_described_anew_goes_on_where_it_was():
    source = LocalGrammars(VOCABULARY)
    masks = ready(source, init(3, "abc", generated=b"ab"))
    assert words(masks.take([3]), 0) == {b"c"}
    wrong = ready(source, init(3, "abc", generated=b"ax"))
    assert wrong.take([3]).failed == [0]


def test_a_grammar_nobody_compiled_is_an_error_of_its_sequence():
    masks = GrammarMasks(LocalGrammars(VOCABULARY), VOCABULARY.size)
    assert "not compiled" in masks.admit(init(0, "a"))


def test_ignore_eos_goes_on_while_anything_else_is_allowed():
    masks = ready(LocalGrammars(VOCABULARY), init(0, "a+", ignore_eos=True), init(1, "ab?", ignore_eos=True))
    masks.accept([0, 1], b"aa")
    taken = masks.take([0, 1])
    assert words(taken, 0) == {b"a"}
    assert words(taken, 1) == {b"b"}
    masks.accept([1], b"b")
    assert masks.take([1]).over == {0: EOS}


def test_without_a_stop_id_the_grammar_ends_all_the_same():
    vocabulary = byte_vocabulary(stop_ids=())
    masks = ready(LocalGrammars(vocabulary), init(0, "a", vocabulary=vocabulary))
    masks.accept([0], b"a")
    assert masks.take([0]).over == {0: -1}


class _Stuck:
    """A grammar whose matcher hangs at the second mask until it is let go."""

    nbytes = 1

    def __init__(self):
        self.release = threading.Event()

    def matcher(self):
        stuck = self

        class Matcher:
            def fill(self, mask_W):
                mask_W[:] = -1

            def accept(self, token):
                return stuck.release.wait(30)

        return Matcher()


def test_a_matcher_that_hangs_fails_its_own_sequence_only(monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    source, stuck = LocalGrammars(VOCABULARY), _Stuck()
    hung = init(1, "never compiled")
    source.made["regex", "never compiled", True] = stuck
    masks = ready(source, init(0, "ab"), init(2, "xy"))
    assert masks.admit(hung) is None
    masks.take([0, 1, 2])
    masks.accept([0, 1, 2], b"a?x")
    taken = masks.take([0, 1, 2])
    assert taken.failed == [1]
    assert words(taken, 0) == {b"b"}
    assert words(taken, 2) == {b"y"}
    stuck.release.set()
    masks.accept([0, 2], b"by")
    assert masks.take([0, 2]).over == {0: EOS, 1: EOS}


def sampled(inits, rows, logits, source):
    """Tokens of the given slots, sampled together."""
    table = SlotTable(4, 64, 8, 16, VOCABULARY.size)
    for one in inits:
        table.admit(one)
    sampler = Sampler(table, ready(source, *inits))
    slots = np.array(rows)
    return sampler(logits[slots].clone(), slots, np.full(len(rows), len(inits[0].tokens), np.int64))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_masked_row_is_the_same_alone_and_among_others(temperature):
    source = LocalGrammars(VOCABULARY)
    inits = [
        init(i, text, temperature=temperature) for i, text in enumerate(("[a-f]+", None, "[0-9]{3}", None))
    ]
    logits = torch.randn(4, VOCABULARY.size, generator=torch.Generator().manual_seed(0))
    together = sampled(inits, [0, 1, 2, 3], logits, source).tokens_R.tolist()
    assert VOCABULARY.tokens[together[0]] in {b"a", b"b", b"c", b"d", b"e", b"f", b"ab"}
    assert VOCABULARY.tokens[together[2]][:1].isdigit()
    for slot in range(4):
        assert sampled(inits, [slot], logits, source).tokens_R.tolist() == [together[slot]]


def test_logprobs_are_of_what_the_grammar_leaves():
    source = LocalGrammars(VOCABULARY)
    one = init(0, "a|b", temperature=0.0, logprobs=5, frequency_penalty=1.0)
    logits = torch.zeros(4, VOCABULARY.size)
    logits[0, ord("z")] = 50.0
    result = sampled([one], [0], logits, source)
    scored = result.logprobs()[0]
    assert result.tokens_R.tolist() == [ord("a")]
    assert scored.logprob == pytest.approx(np.log(0.5))
    assert [i for i, _ in scored.top] == [ord("a"), ord("b")], "what is forbidden is not listed"


def test_the_end_comes_before_min_tokens_when_nothing_else_is_left():
    source = LocalGrammars(VOCABULARY)
    one = init(0, "a", generated=b"a", min_tokens=9, temperature=1.0)
    result = sampled([one], [0], torch.zeros(4, VOCABULARY.size), source)
    assert result.tokens_R.tolist() == [EOS]
    assert result.fault_R.tolist() == [0]
    assert result.over == {0: EOS}
    for seed in range(20):
        early = init(0, "a*", generated=b"a", min_tokens=9, seed=seed)
        assert sampled([early], [0], torch.zeros(4, VOCABULARY.size), source).tokens_R.tolist() == [ord("a")]


def test_masks_that_contradict_a_grammar_are_a_fault_of_the_row():
    source = LocalGrammars(VOCABULARY)
    one = init(0, "a", allowed_token_ids=(ord("b"),))
    assert sampled([one], [0], torch.zeros(4, VOCABULARY.size), source).fault_R.tolist() == [2]


def test_restrain_touches_its_rows_only():
    logits = torch.zeros(3, 40)
    mask = np.array([[1 << 4, 1 << 7]], np.int32)
    restrain_plain(logits, [1], mask)
    assert torch.isfinite(logits[[0, 2]]).all()
    assert torch.nonzero(torch.isfinite(logits[1]))[:, 0].tolist() == [4, 39]
