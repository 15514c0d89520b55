"""Groups cover every prompt once, and their totals lie where the theory says."""

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.workload.prefix_groups import by_decode_ratio, find_groups, total_tokens, trie_tokens

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=12)
METHODS = ("first-level", "enlarge", "optimal")


def shared_by(prompts, members, unit=1):
    """Longest common prefix of what members may share, in tokens."""
    texts = [prompts[place][: (len(prompts[place]) - 1) // unit * unit] for place in members]
    same = 0
    for column in zip(*texts, strict=False):
        if len(set(column)) > 1:
            break
        same += 1
    return same // unit * unit


def partitions(items):
    if not items:
        yield []
        return
    first, *rest = items
    for smaller in partitions(rest):
        yield [[first], *smaller]
        for i in range(len(smaller)):
            yield [*smaller[:i], [first, *smaller[i]], *smaller[i + 1 :]]


@settings(max_examples=300, deadline=None)
@given(PROMPTS, st.sampled_from(METHODS), st.integers(1, 3))
def test_each_prompt_is_in_one_group_and_members_share_its_prefix(prompts, method, unit):
    groups = find_groups(prompts, unit=unit, method=method)
    assert sorted(place for group in groups for place in group.members) == list(range(len(prompts)))
    assert [group.members[0] for group in groups] == sorted(group.members[0] for group in groups)
    for group in groups:
        assert group.shared % unit == 0
        assert group.shared <= shared_by(prompts, group.members, unit)
        assert all(group.shared < len(prompts[place]) for place in group.members), "nothing left to compute"


@settings(max_examples=300, deadline=None)
@given(PROMPTS, st.integers(1, 3))
def test_totals_lie_between_the_whole_trie_and_the_first_level(prompts, unit):
    first, enlarged, optimal = (
        total_tokens(prompts, find_groups(prompts, unit=unit, method=method)) for method in METHODS
    )
    assert trie_tokens(prompts, unit) <= optimal <= enlarged <= first <= sum(map(len, prompts))


@settings(max_examples=120, deadline=None)
@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=9), min_size=1, max_size=6))
def test_optimal_is_the_best_of_all_divisions(prompts):
    whole = sum(map(len, prompts))
    best = min(
        whole - sum(shared_by(prompts, group) * (len(group) - 1) for group in division)
        for division in partitions(list(range(len(prompts))))
    )
    assert total_tokens(prompts, find_groups(prompts, method="optimal")) == best


def one_child(own, branches):
    """Prompts below one first-level prefix: branches of (length, leaves), the tail of each its own."""
    prompts, fresh = [], iter(range(100, 10**6))
    head = [1] * own
    for length, leaves in branches:
        edge = [next(fresh) for _ in range(length)]
        prompts += [[*head, *edge, next(fresh), next(fresh)] for _ in range(leaves)]
    return prompts


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(1, 6), st.integers(2, 4)), min_size=2, max_size=4),
)
def test_enlargement_takes_every_branch_that_pays_by_itself(own, branches):
    """Depth 3: best of all choices of branches to detach, where each pays or not by itself."""
    prompts = one_child(
        own, [*branches, (0, 1)]
    )  # a leaf that ends with the child keeps it a group of its own
    gains = [max(0, (leaves - 1) * length - own) for length, leaves in branches]
    first = total_tokens(prompts, find_groups(prompts, method="first-level"))
    assert total_tokens(prompts, find_groups(prompts)) == first - sum(gains)
    assert total_tokens(prompts, find_groups(prompts, method="optimal")) == first - sum(gains)


def test_what_the_greedy_rule_misses():
    """Neither branch pays by itself, but detaching one lets the other take the whole prefix."""
    prompts = one_child(10, [(8, 2), (8, 2)])
    greedy, best = (total_tokens(prompts, find_groups(prompts, method=m)) for m in ("enlarge", "optimal"))
    assert (greedy, best) == (10 + 4 * 10, 10 + 8 + 10 + 8 + 4 * 2)


def test_equal_prompts_and_prompts_that_begin_others():
    prompts = [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3], [9]]
    groups = find_groups(prompts)
    assert [group.members for group in groups] == [(0, 1, 2), (3,)] and groups[0].shared == 2
    assert find_groups([]) == []


def test_batch_prefix_counts_to_the_token():
    prompts = [[*range(g * 10000, g * 10000 + 200), 7, n] for n in range(8) for g in range(20)]
    groups = find_groups(prompts, unit=8)
    assert len(groups) == 20 and all(group.shared == 200 for group in groups)
    assert total_tokens(prompts, groups) == 20 * 200 + 160 * 2
    order = by_decode_ratio(prompts, groups, [place % 20 for place in range(len(prompts))])
    assert [group.members[0] for group in order] == list(range(19, -1, -1))
