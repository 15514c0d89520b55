"""Groups run together, what decodes most first, and compute their prefixes once."""

import pytest

from penstock.core.errors import ConfigError
from penstock.core.sequence import Sequence
from penstock.policies.parse import parse_policy
from penstock.testing.builders import make_request


def seq(number, group, prompt=20, max_tokens=10, tenant="t"):
    request = make_request(
        f"r{number}",
        prompt,
        max_tokens=max_tokens,
        group=group,
        group_tokens=8 if group else 0,
        tenant=tenant,
    )
    return Sequence(request, number, 4096)


def names(index):
    return [s.number for s in index.candidates(0.0)]


def fill(order, seqs):
    index = order.index()
    for s in seqs:
        order.on_arrive(s, 0.0)
        index.add(s)
    return index


SEQS = [(0, "a", 20, 10), (1, "b", 20, 30), (2, None, 20, 25), (3, "a", 20, 10), (4, "b", 20, 1)]


def test_groups_go_by_tokens_to_generate_per_prompt_token():
    # a: 20 / (8 + 24), b: 31 / (8 + 24), the lone one 25 / 20
    assert names(fill(parse_policy("order", "prefix-groups"), [seq(*s) for s in SEQS])) == [2, 1, 4, 0, 3]
    assert names(fill(parse_policy("order", "prefix-groups(by=arrival)"), [seq(*s) for s in SEQS])) == [
        0, 3, 1, 4, 2,
    ]  # fmt: skip


def test_a_group_begun_comes_before_better_ones_that_come_later():
    order = parse_policy("order", "prefix-groups")
    first = [seq(0, "a"), seq(1, "a")]
    index = fill(order, first)
    assert next(index.candidates(0.0)) is first[0]
    index.remove(first[0])
    later = seq(2, "b", max_tokens=500)
    order.on_arrive(later, 0.0)
    index.add(later)
    assert names(index) == [1, 2]
    assert order.key(first[0], 0.0) < order.key(later, 0.0)
    for s in (*first, later):
        order.on_finish(s, 0.0, True)
    assert not order._ranks and not order._live, "groups that ended are forgotten"


def test_equal_names_of_two_tenants_are_two_groups():
    seqs = [seq(0, "g", tenant="x"), seq(1, "g", tenant="y", max_tokens=90), seq(2, "g", tenant="x")]
    assert names(fill(parse_policy("order", "prefix-groups"), seqs)) == [1, 0, 2]


def test_bad_arguments_are_refused():
    with pytest.raises(ConfigError, match="by is"):
        parse_policy("order", "prefix-groups(by=size)")


def test_the_experiments_hold_when_quick():
    from penstock.reproduce.batchllm import batchllm_groups, batchllm_prefixes

    figures = batchllm_prefixes(0, True)
    assert figures["tokens_beyond_2080000"] == 0 and figures["makespan_ratio"] > 1.3
    figures = batchllm_groups(0, True)
    assert not (
        figures["misplaced_prompts"]
        or figures["totals_out_of_order"]
        or figures["batch_prefix_beyond_2080000"]
    )
