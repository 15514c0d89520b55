"""The length ranker: its loss, its measure, its training from traffic, its folder."""

import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.predict.loss import list_mle
from penstock.predict.model import Ranker, RankerConfig
from penstock.predict.ranker import LengthRanker
from penstock.predict.tau import kendall_tau, tau_interval
from penstock.predict.traffic import Sample, read_traffic, write_traffic
from penstock.predict.train import Training, evaluate, train

SMALL = RankerConfig(vocab_size=64, width=8, hidden=16, pairs=64)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(scores, lengths):
    """The definition, term by term."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    terms = [
        torch.log(sum(torch.exp(scores[j]) for j in order[i:])) - scores[order[i]] for i in range(len(order))
    ]
    return sum(terms) / len(terms)


@given(st.integers(0, 10**6), st.integers(2, 12))
@settings(max_examples=30, deadline=None)
def test_list_mle_and_its_gradient_are_those_of_the_definition(seed, count):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randperm(100, generator=generator)[:count].tolist()
    start = torch.randn(count, generator=generator, dtype=torch.float64)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    loss = list_mle(ours, torch.tensor(lengths))
    expected = reference(theirs, lengths)
    loss.backward()
    expected.backward()
    assert abs(float((loss - expected).detach())) < 1e-6
    assert (ours.grad - theirs.grad).abs().max() < 1e-6


def test_list_mle_does_not_depend_on_the_order_of_the_list():
    scores, lengths = torch.tensor([0.3, -1.0, 2.0, 0.7]), torch.tensor([5, 9, 1, 7])
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(list_mle(scores, lengths), list_mle(scores, lengths, order))
    assert list_mle(lengths.float(), lengths) < list_mle(-lengths.float(), lengths)


def test_kendalls_tau_by_hand():
    assert kendall_tau([1, 2, 3, 4], [10, 20, 30, 40]) == pytest.approx(1)
    assert kendall_tau([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall_tau([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / (2 * 3) ** 0.5)
    assert kendall_tau([1, 1, 1], [1, 2, 3]) == 0
    with pytest.raises(ValueError, match="equal length"):
        kendall_tau([1], [1, 2])


def test_the_interval_of_tau_is_the_jackknifes_and_covers_the_truth():
    rng = random.Random(4)
    first = [rng.randint(0, 9) for _ in range(25)]
    second = [value + rng.gauss(0, 4) for value in first]
    tau, low, high = tau_interval(first, second)
    without = [kendall_tau(first[:i] + first[i + 1 :], second[:i] + second[i + 1 :]) for i in range(25)]
    mean = sum(without) / 25
    spread = 1.96 * (24 / 25 * sum((one - mean) ** 2 for one in without)) ** 0.5
    assert tau == pytest.approx(kendall_tau(first, second))
    assert (low, high) == (pytest.approx(tau - spread), pytest.approx(tau + spread))
    covered = 0
    for _ in range(100):  # independent orders: the true tau is 0
        _, low, high = tau_interval([rng.random() for _ in range(40)], [rng.random() for _ in range(40)])
        covered += low <= 0 <= high
    assert 88 <= covered <= 100
    with pytest.raises(ValueError, match="three items"):
        tau_interval([1, 2], [1, 2])


def traffic(count, seed):
    """A number token says how long the answer gets, among tokens that say nothing."""
    rng = random.Random(seed)
    samples = []
    for _ in range(count):
        size = rng.randint(1, 12)
        filler = [rng.randint(20, 60) for _ in range(rng.randint(2, 8))]
        filler.insert(rng.randrange(len(filler)), size)
        samples.append(Sample(tuple(filler), max(1, round(5 * size * rng.lognormvariate(0, 0.2)))))
    return samples


@pytest.mark.parametrize("kind", ["bag", "encoder"])
def test_it_learns_what_foretells_the_length(kind):
    config = RankerConfig(vocab_size=64, width=16, hidden=32, layers=1, kind=kind, pairs=64)
    seen = []
    model, best = train(traffic(300, 1), config, Training(epochs=20, rate=1e-2), seen.append)
    assert len(seen) == 20 and best.tau == max(epoch.tau for epoch in seen)
    assert evaluate(model, traffic(150, 2)) > 0.5


def test_training_repeats_itself_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, _ = train(traffic(60, 1), SMALL, Training(epochs=2, seed=3))
    second, _ = train(traffic(60, 1), SMALL, Training(epochs=2, seed=3))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ValueError, match="four samples"):
        train(traffic(3, 1), SMALL)


def test_a_folder_keeps_a_ranker(tmp_path):
    model, _ = train(traffic(200, 1), RankerConfig(vocab_size=64, width=16, hidden=32, pairs=64))
    ranker = LengthRanker(model)
    prompts = [sample.prompt_ids for sample in traffic(40, 5)]
    ranker.save(tmp_path / "ranker")
    again = LengthRanker.load(tmp_path / "ranker", vocab_size=64)
    assert again.score(prompts) == ranker.score(prompts)
    assert again.scored == 40 and again.seconds > 0
    # Scores read as tokens, and do not depend on who shares the batch.
    truth = [sample.output_tokens for sample in traffic(40, 5)]
    assert 0.5 < sum(again.score(prompts)) / sum(truth) < 2
    assert again.score(prompts[:1])[0] == pytest.approx(again.score(prompts)[0], rel=1e-4)


def test_what_is_no_ranker_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="holds no ranker"):
        LengthRanker.load(tmp_path)
    LengthRanker(Ranker(SMALL)).save(tmp_path)
    with pytest.raises(ConfigError, match="trained for 64 token ids, but the model has 65"):
        LengthRanker.load(tmp_path, vocab_size=65)


def test_traffic_comes_as_ids_texts_or_conversations(tmp_path):
    path = tmp_path / "traffic.jsonl"
    rows = [
        {"prompt_ids": [1, 2], "output_tokens": 3, "more": "ignored"},
        {"prompt": "ab", "output_tokens": 4},
        {"messages": [{"role": "user", "content": "abc"}], "output_tokens": 5},
        {"prompt_ids": [1], "output_tokens": 0},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")

    def encode(row):
        return tuple(range(len(row.get("prompt") or row["messages"][0]["content"])))

    samples = read_traffic(path, encode)
    assert samples == [Sample((1, 2), 3), Sample((0, 1), 4), Sample((0, 1, 2), 5)]
    assert write_traffic(path, samples) == 3 and read_traffic(path) == samples


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "two are the least"),
        ('{"prompt": "a", "output_tokens": 3}\n', "line 1"),
        ('{"prompt_ids": [1], "output_tokens": 1}\nnonsense\n', "line 2"),
    ],
)
def test_traffic_that_cannot_be_read_names_the_line(tmp_path, text, why):
    path = tmp_path / "traffic.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        read_traffic(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_traffic(tmp_path / "none.jsonl")
