"""Every named workload runs, repeats by seed, and has the rates, lengths and sharing that it claims."""

import collections
import itertools
import math

import numpy as np
import pytest

from penstock.core.errors import ConfigError
from penstock.workload.generate import mix
from penstock.workload.registry import describe, entries, make_workload, parse_workload, split_workload
from tests.workload.world import FakeWorld

SMALL = {
    "ltr-synthetic": {"count": 200, "goal": 20},
    "batch-prefix": {"groups": 20},
    "agent-swe": {"programs": 3},
    "agent-bfcl": {"programs": 5},
    "chat": {"conversations": 5},
    "dlpm-tot": {"duration": 20, "rate": 0.4},
    "dlpm-qa": {"duration": 20},
    "dlpm-judge": {"duration": 20},
    "dlpm-arena": {"duration": 10},
    "vtc-arena": {"duration": 30},
}
NAMES = sorted(set(entries()) - {"trace"})


def small(name, seed=0, **rest):
    values = dict(SMALL.get(name, {}))
    defaults = entries()[name].defaults
    if not values and "count" in defaults:
        values["count"] = 60
    elif not values and "duration" in defaults:
        values["duration"] = 40.0
    return make_workload(name, seed, **(values | rest))


def sent(driver, **rest):
    return FakeWorld(driver, **rest).run().requests


@pytest.mark.parametrize("name", NAMES)
def test_every_workload_runs_and_repeats_by_seed(name):
    first, again, other = sent(small(name)), sent(small(name)), sent(small(name, seed=1))
    assert first == again
    assert first != other
    assert len(first) > 5
    ids = [request.id for _, request in first]
    assert len(set(ids)) == len(ids)
    times = [time for time, _ in first]
    assert times == sorted(times)
    for _, request in first:
        assert request.output_tokens >= 1
        assert all(span.length >= 1 and span.stream >= 1 for span in request.prompt)
        assert request.think_tokens < request.output_tokens or request.output_tokens == 1


def test_all_are_described():
    lines = describe()
    assert set(lines) == set(entries())
    assert all(len(line) > 20 for line in lines.values())
    assert "rate=1.0" in lines["poisson"]


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("burst", "burstgpt", "text2sql")])
def test_another_rate_keeps_every_prompt(name):
    defaults = entries()[name].defaults
    if "rate" not in defaults or "count" not in defaults:
        pytest.skip("has no rate, or a time limit that another rate fills differently")
    slow, fast = sent(small(name, rate=1.0)), sent(small(name, rate=4.0))
    assert [r.prompt_tokens for _, r in slow] == [r.prompt_tokens for _, r in fast]
    assert [r.output_tokens for _, r in slow] == [r.output_tokens for _, r in fast]
    if name not in ("onoff", "diurnal"):
        assert [t / 4 for t, _ in slow] == pytest.approx([t for t, _ in fast])


def rates(driver, until):
    counts = collections.Counter(request.tenant for _, request in sent(driver, until=until))
    return {tenant: count / until for tenant, count in counts.items()}


def test_vtc_rates():
    assert rates(make_workload("vtc-overload"), 360) == pytest.approx(
        {"client1": 1.5, "client2": 3.0}, abs=0.01
    )
    weighted = sent(make_workload("vtc-weighted", duration=60))
    assert {r.tenant: r.weight for _, r in weighted} == {f"client{i}": float(i) for i in (1, 2, 3, 4)}
    twice = rates(make_workload("vtc-overload", rate=9.0), 100)
    assert twice == pytest.approx({"client1": 3.0, "client2": 6.0}, abs=0.05)
    rising = [t for t, r in sent(make_workload("vtc-increase")) if r.tenant == "client2"]
    assert len(rising) == pytest.approx(1.1 * 600, abs=2)
    assert sum(t < 300 for t in rising) == pytest.approx((0.2 + 1.1) / 2 * 300, abs=2)
    pausing = [t for t, r in sent(make_workload("vtc-on-off-overload")) if r.tenant == "client1"]
    assert all((t - pausing[0]) % 120 < 60 + 1e-6 for t in pausing)
    assert len(pausing) == pytest.approx(2 * 300, abs=2)
    assert len({r.tenant for _, r in sent(make_workload("vtc-overload-multi", duration=9))}) == 8
    assert {r.prompt_tokens for _, r in sent(make_workload("vtc-shift", duration=60))} == {256}


def test_vtc_staircase_is_harmonic():
    requests = sent(make_workload("vtc-staircase", pool=400))
    stairs = {r.output_tokens for _, r in requests if r.tenant == "client1"}
    assert {399, 199, 132} <= stairs
    assert {r.output_tokens for _, r in requests if r.tenant == "client2"} == {8}


def test_dlpm_lengths_and_greed():
    trees = sent(make_workload("dlpm-tot", duration=60, rate=0.8))
    greedy = [r for _, r in trees if r.tenant == "client0"]
    others = [r for _, r in trees if r.tenant == "client1"]
    assert len(greedy) % 340 == 0
    assert len(others) % 30 == 0
    assert np.mean([r.prompt_tokens for _, r in trees]) == pytest.approx(546, rel=0.05)
    judged = collections.Counter(r.group for _, r in sent(small("dlpm-judge")))
    assert {judged[g] for g in judged if g.startswith("client0-")} == {16}
    assert {judged[g] for g in judged if not g.startswith("client0-")} == {2}
    assert {r.prompt_tokens for _, r in sent(small("dlpm-qa"))} == {21449}
    assert max(r.prompt_tokens for _, r in sent(small("dlpm-qa", longer=10))) == 214049


def test_batch_prefix_shares_what_it_says():
    requests = [r for _, r in sent(make_workload("batch-prefix"))]
    assert len(requests) == 6400
    assert sum(r.prompt_tokens for r in requests) == 14_080_000
    distinct = {span for r in requests for span in r.prompt}
    assert sum(span.length for span in distinct) == 2_080_000
    assert [r.group for r in requests[:16]] != ["g0"] * 16
    assert [r.group for _, r in sent(make_workload("batch-prefix", shuffle="no"))][:16] == ["g0"] * 16


def test_predicted_lengths_have_the_rank_correlation_asked_for():
    for tau in (0.55, 1.0):
        requests = [r for _, r in sent(make_workload("ltr-synthetic", count=1500, tau=tau))]
        truth = np.array([r.output_tokens for r in requests])
        score = np.array([r.length_score for r in requests])
        signs = np.sign(truth[:, None] - truth[None]) * np.sign(score[:, None] - score[None])
        measured = signs.sum() / (len(truth) * (len(truth) - 1))
        assert measured == pytest.approx(tau, abs=0.04)
    assert all(r.length_score is None for _, r in sent(small("ltr-chat", tau=0.0)))


def test_first_done_notes_when():
    driver = make_workload("ltr-synthetic", count=50, goal=20)
    FakeWorld(driver, service=2.0).run()
    assert driver.reached == 2.0


def test_agents_grow_and_name_their_tools():
    requests = [r for _, r in sent(make_workload("agent-swe", programs=20))]
    last = [r for r in requests if r.turn.last]
    assert len(last) == 20
    assert all(r.turn.tool is None for r in last)
    assert {r.turn.tool for r in requests if not r.turn.last} == {"read", "edit", "search", "test"}
    assert np.mean([r.prompt_tokens for r in requests if r.turn.index == 0]) == pytest.approx(2000, rel=0.15)
    assert 18_000 < np.mean([r.prompt_tokens + r.output_tokens for r in last]) < 32_768
    assert max(r.prompt_tokens + r.output_tokens for r in requests) <= 32_768


def test_tools_take_the_time_they_are_given():
    quick = FakeWorld(make_workload("agent-swe", programs=5, tool_time=0.0, rate=1000.0)).run()
    slow = FakeWorld(make_workload("agent-swe", programs=5, tool_time=1.0, rate=1000.0)).run()
    assert len(quick.requests) == len(slow.requests)
    assert slow.time > quick.time + 10


def test_reasoning_hides_thoughts_up_to_its_budget():
    requests = [r for _, r in sent(make_workload("reasoning", budget=4096, count=300))]
    assert max(r.output_tokens for r in requests) == 4096
    assert all(r.think_tokens == int(0.85 * r.output_tokens) for r in requests)
    plain = [r for _, r in sent(make_workload("reasoning", plain="true", count=300))]
    assert all(r.think_tokens == 0 for r in plain)
    spread = np.std([r.output_tokens for r in requests]) / np.std([r.output_tokens for r in plain])
    assert spread > 5


def test_chat_drops_thoughts_from_the_next_prompt():
    def prompts(**rest):
        driver = make_workload("chat", conversations=20, think=0.5, **rest)
        return sum(r.prompt_tokens for _, r in sent(driver))

    assert prompts() < prompts(keep_thoughts=True)


def test_a_workload_is_lazy():
    """A million requests are begun at once; only the drawn ones are made."""
    from penstock.workload.arrivals import Gamma
    from penstock.workload.suites.basic import client

    source = mix([client(Gamma(1.0), {"count": 10**9})], 0)
    assert len(list(itertools.islice(source, 5))) == 5


def test_words():
    word = "poisson:rate=4,prompt=lognormal:1155:1.0,output=lognormal:211:0.8,count=1000"
    assert split_workload(word) == (
        "poisson",
        {"rate": "4", "prompt": "lognormal:1155:1.0", "output": "lognormal:211:0.8", "count": "1000"},
    )
    requests = [r for _, r in sent(parse_workload(word, seed=3))]
    assert len(requests) == 1000
    assert requests[-1].arrival == pytest.approx(250, rel=0.15)
    assert np.mean([r.prompt_tokens for r in requests]) == pytest.approx(1155, rel=0.15)
    assert split_workload("suite:vtc-overload,duration=9") == ("vtc-overload", {"duration": "9"})
    assert split_workload("vtc-overload,duration=9") == split_workload("vtc-overload:duration=9")
    assert split_workload("trace:azure:/a,b.csv,speed=2") == (
        "trace",
        {"path": "azure:/a,b.csv", "speed": "2"},
    )
    assert len(sent(parse_workload(word, count=7))) == 7


def test_a_trace_by_its_word(tmp_path):
    (tmp_path / "t.csv").write_text("num_prefill_tokens,num_decode_tokens\n7,1\n8,2\n9,3\n")
    made = sent(parse_workload(f"trace:lengths:{tmp_path / 't.csv'},rate=2,cv=0,limit=2"))
    assert [(t, r.prompt_tokens) for t, r in made] == [(0, 7), (0.5, 8)]
    assert [t for t, _ in sent(parse_workload(f"trace:lengths:{tmp_path / 't.csv'}"))] == [0, 0, 0]
    drawn = sent(parse_workload(f"poisson:lengths={tmp_path / 't.csv'},count=50"))
    assert {(r.prompt_tokens, r.output_tokens) for _, r in drawn} == {(7, 1), (8, 2), (9, 3)}


def test_objectives_and_shared_texts_come_from_the_word():
    requests = [r for _, r in sent(parse_workload("poisson:ttft=0.5,tpot=0.1,prefixes=3,prefix=40,count=60"))]
    assert (requests[0].slo.ttft, requests[0].slo.tpot, requests[0].slo.deadline) == (0.5, 0.1, None)
    assert len({r.prompt[0] for r in requests}) == 3
    assert {r.prompt[0].length for r in requests} == {40}


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("nope", "expected one of .*poisson"),
        ("poisson:speed=1", "workload.speed: poisson has no such parameter; it takes rate"),
        ("poisson:rate=fast", "workload.rate: expected a number"),
        ("poisson:rate=0", "workload.rate: expected a number above 0"),
        ("poisson:rate=nan", "workload.rate"),
        ("poisson:count=-1", "workload.count"),
        ("poisson:prompt=weird:1", "workload.prompt: expected"),
        ("poisson:rate", "expected KEY=VALUE"),
        ("poisson:tau=2", "workload.tau"),
        ("diurnal:swing=2", "workload.swing"),
        ("burstgpt:shapes=1/x", "workload.shapes"),
        ("burstgpt:shapes=1/2", "workload.betas"),
        ("batch-prefix,shuffle=maybe", "workload.shuffle: expected true or false"),
        ("llumnix:mean=77", "workload.mean"),
        ("reasoning:think=1", "workload.think"),
        ("text2sql-calls:stages=a", "workload.stages"),
        ("agent-bfcl:context=100", "workload.context"),
        ("trace:", "expected trace:SCHEMA:PATH"),
        ("trace:azure:/none.csv", "cannot read"),
        ("poisson:lengths=/none.csv", "cannot read"),
    ],
)
def test_bad_words_name_the_parameter(word, says):
    with pytest.raises(ConfigError, match=says):
        sent(parse_workload(word))


def test_mean_rates_of_the_changing_processes():
    swing = [t for t, _ in sent(parse_workload("diurnal:rate=10,period=100,duration=400"))]
    assert len(swing) == pytest.approx(4000, rel=0.05)
    quiet, busy = sum(t % 100 < 25 or t % 100 > 75 for t in swing), sum(25 < t % 100 < 75 for t in swing)
    assert busy / quiet == pytest.approx((0.5 + 0.8 / math.pi) / (0.5 - 0.8 / math.pi), rel=0.15)
    bursts = [t for t, _ in sent(parse_workload("burstgpt:shapes=0.25/1,betas=2/4,rate=3,count=9000"))]
    assert 9000 / bursts[-1] == pytest.approx(3, rel=0.1)
