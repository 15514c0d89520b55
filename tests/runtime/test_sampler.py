"""The sampler against the naive one, row by row; row independence bit by bit; statistics of what it draws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.core.plan import SlotInit
from penstock.core.request import SamplingParams
from penstock.runtime.sampler import knobs, restrict
from penstock.runtime.sampler.sampler import FAULTS, Sampler
from penstock.runtime.slots import SlotTable
from tests.runtime import oracle

torch.set_num_threads(1)
VOCAB = 24
IDS = st.integers(0, VOCAB - 1)
EOS = (3,)
# Coarse values make ties, as bfloat16 logits do; fine ones do not.
LOGITS = st.one_of(
    st.integers(-12, 12).map(lambda n: n / 2),
    st.floats(-20, 20, width=32, allow_subnormal=False).map(lambda x: float(np.float32(x))),
)
NONE = st.just(SamplingParams())


def params(**fields):
    return st.builds(SamplingParams, seed=st.integers(0, 2**63 - 1), max_tokens=st.just(64), **fields)


TEMPERATURE = st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.7])
WARM = st.sampled_from([0.3, 0.7, 1.0, 1.7])
FIELDS = {
    "temperature": {"temperature": TEMPERATURE},
    "top_k": {"temperature": WARM, "top_k": st.integers(0, VOCAB + 3)},
    "top_p": {"temperature": WARM, "top_p": st.floats(0.01, 1.0)},
    "min_p": {"temperature": WARM, "min_p": st.floats(0.0, 1.0)},
    "presence_penalty": {"temperature": TEMPERATURE, "presence_penalty": st.floats(-2, 2)},
    "frequency_penalty": {"temperature": TEMPERATURE, "frequency_penalty": st.floats(-2, 2)},
    "repetition_penalty": {"temperature": TEMPERATURE, "repetition_penalty": st.floats(0.3, 3)},
    "logit_bias": {
        "temperature": TEMPERATURE,
        "logit_bias": st.dictionaries(IDS, st.floats(-100, 100), max_size=5),
    },
    "allowed_token_ids": {
        "temperature": TEMPERATURE,
        "allowed_token_ids": st.lists(IDS, min_size=1, max_size=6).map(tuple),
    },
    "bad_words": {
        "temperature": TEMPERATURE,
        "bad_words": st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3).map(tuple), max_size=4).map(
            tuple
        ),
    },
    "min_tokens": {
        "temperature": TEMPERATURE,
        "min_tokens": st.integers(0, 8),
        "stop_token_ids": st.lists(IDS, max_size=3).map(tuple),
        "ignore_eos": st.booleans(),
    },
}
FIELDS["everything"] = {name: s for fields in list(FIELDS.values()) for name, s in fields.items()}


def row(fields):
    """(logits, tokens, prompt length, params) of one sequence; few distinct tokens, so that they repeat."""
    return st.tuples(
        st.lists(LOGITS, min_size=VOCAB, max_size=VOCAB),
        st.lists(st.integers(0, 5), min_size=1, max_size=12),
        st.integers(1, 12),
        params(**fields),
    ).map(lambda r: (r[0], r[1], min(r[2], len(r[1])), r[3]))


def table_of(rows, vocab=VOCAB):
    table = SlotTable(len(rows), 64, 16, 64, vocab)
    for slot, (_, tokens, prompt_length, sp) in enumerate(rows):
        table.admit(SlotInit(slot, str(slot), tuple(tokens), prompt_length, sp, EOS))
        assert not table.faulty[slot], table.fault_text[slot]
    return table


def sample(rows, order=None, vocab=VOCAB):
    """Tokens and faults of all rows in one call (or of those in ``order``)."""
    table = table_of(rows, vocab)
    order = list(range(len(rows))) if order is None else order
    logits = torch.tensor([rows[i][0] for i in order], dtype=torch.float32)
    positions = np.array([len(rows[i][1]) for i in order], np.int64)
    return Sampler(table)(logits, np.array(order, np.int64), positions)


@pytest.mark.parametrize("feature", FIELDS)
def test_tokens_equal_the_naive_sampler(feature):
    @settings(max_examples=150, deadline=None)
    @given(st.lists(row(FIELDS[feature]), min_size=1, max_size=5))
    def check(rows):
        wants = [oracle.choose(*r, EOS) for r in rows]
        assume(all(close > 1e-9 for _, close in wants))
        got = sample(rows)
        for r, (want, _) in enumerate(wants):
            if want is None:
                assert got.fault_R[r] == 2
            else:
                assert got.fault_R[r] == 0
                assert got.tokens_R[r] == want

    check()


EDGES = {**FIELDS["top_k"], **FIELDS["top_p"], **FIELDS["min_p"], **FIELDS["allowed_token_ids"]}
EDGES["allowed_token_ids"] = st.none() | EDGES["allowed_token_ids"]  # with a list, few tokens are alive
EDGES["temperature"] = st.sampled_from([0.7, 2.0, 8.0])
EDGES["top_p"] = st.just(1.0) | st.floats(0.01, 1.0)
EDGES["min_p"] = st.just(0.0) | st.floats(0.0, 1.0)
EDGES["top_k"] = st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16, VOCAB + 1])


@pytest.mark.parametrize("look", [1, 2, 3, 7, VOCAB - 1, VOCAB])
def test_the_ways_to_settle_a_row_agree(look, monkeypatch):
    """Ties at the edge of what was looked at must lead to the slower way, not to another result."""
    monkeypatch.setattr(restrict, "SORTED_WHOLE", 0)
    monkeypatch.setattr(restrict, "LOOK", look)
    monkeypatch.setitem(knobs.BLOCK, "cpu", 2 * VOCAB)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(row(EDGES), min_size=1, max_size=5))
    def check(rows):
        wants = [oracle.choose(*r, EOS) for r in rows]
        assume(all(close > 1e-9 for _, close in wants))
        assert sample(rows).tokens_R.tolist() == [want for want, _ in wants]

    check()


@settings(max_examples=200, deadline=None)
@given(row(EDGES))
def test_the_slow_way_is_right_by_itself(one):
    want, close = oracle.choose(*one, EOS)
    assume(close > 1e-9)
    logits = torch.tensor(oracle.adjusted(*one, EOS))
    sampling = table_of([one]).sampling
    gathered = knobs.Knobs.gather(sampling, np.array([0]), np.array([len(one[1])]))
    assert restrict._choose_alone(logits, gathered) == want


@settings(max_examples=100, deadline=None)
@given(st.lists(row(FIELDS["everything"]), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_a_row_is_the_same_alone_and_among_others(rows, random):
    together = sample(rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    shuffled = sample(rows, order)
    for at, r in enumerate(order):
        alone = sample(rows, [r])
        assert together.tokens_R[r] == shuffled.tokens_R[at] == alone.tokens_R[0]
        assert together.fault_R[r] == shuffled.fault_R[at] == alone.fault_R[0]


def test_a_row_is_the_same_alone_and_among_others_at_a_real_vocabulary():
    """Sizes at which vectorised loops, their tails and the wider looks come in; logprobs too, bit for bit."""
    vocab, generator = 5003, torch.Generator().manual_seed(0)
    variants = [
        {"temperature": 1.0},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 3.0, "top_p": 0.999},
        {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
        {"temperature": 1.0, "top_k": 3000, "top_p": 0.9},
        {"temperature": 1.0, "min_p": 0.05},
        {"temperature": 0.0, "repetition_penalty": 1.2},
        {"temperature": 1.0, "frequency_penalty": 0.5, "logit_bias": {7: 3.0}},
    ]
    rows = []
    for n in range(24):
        logits = (torch.randn(vocab, generator=generator) * 3).tolist()
        sp = SamplingParams(seed=n, logprobs=5, **variants[n % len(variants)])
        rows.append((logits, [n, 7, 9], 1, sp))
    together = sample(rows, vocab=vocab)
    scores = together.logprobs()
    for r in range(len(rows)):
        alone = sample(rows, [r], vocab=vocab)
        assert alone.tokens_R[0] == together.tokens_R[r]
        assert alone.logprobs()[0] == scores[r]


def test_equals_of_the_kth_that_were_not_looked_at_count_in_the_nucleus(monkeypatch):
    monkeypatch.setattr(restrict, "SORTED_WHOLE", 0)
    monkeypatch.setattr(restrict, "LOOK", 2)
    logits = [3.0] + [2.0] * (VOCAB - 1)
    rows = [
        (logits, [0], 1, SamplingParams(temperature=5.0, top_k=2, top_p=0.1, seed=seed)) for seed in range(50)
    ]
    assert len(set(sample(rows).tokens_R.tolist())) > 5


def test_top_p_and_top_k_keep_all_equals_at_the_edge():
    counts = set()
    for seed in range(200):
        logits = [5.0, 4.0, 4.0, 4.0] + [0.0] * (VOCAB - 4)
        (token,) = sample([(logits, [0], 1, SamplingParams(temperature=2.0, top_k=2, seed=seed))]).tokens_R
        counts.add(int(token))
    assert counts == {0, 1, 2, 3}


def chi_square(tokens, probabilities):
    counts = np.bincount(tokens, minlength=len(probabilities))
    expected = len(tokens) * np.array(probabilities)
    assert counts[expected == 0].sum() == 0
    live = expected > 0
    return ((counts[live] - expected[live]) ** 2 / expected[live]).sum()


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 1.0},
        {"temperature": 0.6},
        {"temperature": 1.5, "top_k": 5},
        {"top_p": 0.7},
        {"min_p": 0.2},
    ],
    ids=str,
)
@pytest.mark.parametrize("vary", ["seed", "position"])
def test_frequencies_follow_the_distribution(sampling, vary):
    """20000 draws over seeds, or over positions of one seed, pass a chi-square test at one in 10**6."""
    vocab, draws = 12, 20_000
    logits = torch.randn(vocab, generator=torch.Generator().manual_seed(4)) * 1.5
    sp = SamplingParams(**sampling)
    alive, _ = oracle.kept([np.float32(x) for x in logits.tolist()], sp)
    weight = [math.exp(logits[v].item() / sp.temperature) if v in alive else 0.0 for v in range(vocab)]
    table = SlotTable(draws, 4, 4, 4, vocab)
    for slot in range(draws):
        table.sampling.put(slot, SamplingParams(seed=slot if vary == "seed" else 7, **sampling), ())
    positions = np.arange(draws) if vary == "position" else np.full(draws, 3)
    tokens = Sampler(table)(logits.repeat(draws, 1), np.arange(draws), positions).tokens_R.numpy()
    freedom = len(alive) - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3
    assert chi_square(tokens, np.array(weight) / sum(weight)) < limit


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 0.0}, {}, {"top_p": 0.5}, {"repetition_penalty": 2.0}, {"logprobs": 2}],
    ids=str,
)
def test_non_finite_logits_fail_their_row_only(poison, sampling):
    sp = SamplingParams(seed=9, **sampling)
    rows = [([float((7 * v + n) % 11) for v in range(VOCAB)], [1, 2, n], 2, sp) for n in range(3)]
    clean = sample(rows)
    rows[1][0][5] = poison
    got = sample(rows)
    assert got.fault_R.tolist() == [0, 1, 0]
    assert FAULTS[1] == "model produced non-finite logits"
    assert got.tokens_R[[0, 2]].tolist() == clean.tokens_R[[0, 2]].tolist()
    assert 0 <= got.tokens_R[1] < VOCAB
    scores, clean_scores = got.logprobs(), clean.logprobs()
    assert [scores.get(r) for r in (0, 2)] == [clean_scores.get(r) for r in (0, 2)]


def test_masks_that_leave_nothing_fail_their_row_only():
    fine = SamplingParams(temperature=0.0, logit_bias={2: 50.0})
    stuck = SamplingParams(allowed_token_ids=(3,), min_tokens=4, temperature=1.0, top_p=0.5)
    logits = [0.0] * VOCAB
    got = sample([(logits, [1], 1, fine), (logits, [1], 1, stuck)])
    assert got.fault_R.tolist() == [0, 2]
    assert got.tokens_R[0] == 2


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(row({"temperature": TEMPERATURE}), st.sampled_from([None, 0, 1, 3, VOCAB + 2])),
        min_size=1,
        max_size=5,
    )
)
def test_logprobs_are_of_the_raw_logits_with_ranks(pairs):
    rows = [
        (
            r[0],
            r[1],
            r[2],
            SamplingParams(temperature=r[3].temperature, seed=r[3].seed, logprobs=n, logit_bias={2: 30.0}),
        )
        for r, n in pairs
    ]
    got = sample(rows)
    scores = got.logprobs()
    assert set(scores) == {i for i, (_, n) in enumerate(pairs) if n is not None}
    for i, score in scores.items():
        logits = rows[i][0]
        norm = math.log(math.fsum(math.exp(x - max(logits)) for x in logits)) + max(logits)
        assert score.token == got.tokens_R[i]
        assert score.logprob == pytest.approx(logits[score.token] - norm, abs=1e-5)
        lp = torch.log_softmax(torch.tensor(logits), 0)
        assert score.rank == 1 + int((lp > lp[score.token]).sum())
        n = min(pairs[i][1], VOCAB)
        assert len(score.top) == n
        assert [x for _, x in score.top] == sorted(lp.tolist(), reverse=True)[:n]
        assert all(lp[v].item() == x for v, x in score.top)
        assert len({v for v, _ in score.top}) == n


def test_penalties_see_no_token_at_or_after_the_sampled_position():
    """A step that is run again finds its own former token in the table; it must not count."""
    sp = SamplingParams(temperature=0.0, presence_penalty=2.0, repetition_penalty=1.5, bad_words=((5, 1),))
    table = table_of([([], [0, 1], 1, sp)])
    logits = torch.linspace(0, 1, VOCAB)[None]
    first = Sampler(table)(logits.clone(), np.array([0]), np.array([2])).tokens_R
    table.write(np.array([0]), np.array([2]), table.epoch[:1], first.numpy())
    again = Sampler(table)(logits.clone(), np.array([0]), np.array([2])).tokens_R
    assert torch.equal(first, again)
