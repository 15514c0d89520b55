"""Each shape keeps its promise in every step of a random run: stall-free, fixed forwards, layer groups."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.errors import ConfigError
from penstock.core.states import SeqState
from penstock.policies.parse import parse_policy
from penstock.policies.shape.layered import Layered
from penstock.reproduce.splitfuse import backlog_run
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor

LAYERS = 6
BOUNDED = settings(max_examples=40, deadline=None, derandomize=True)
POPULATION = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 12), st.integers(0, 20)), min_size=1, max_size=8
)
"""Prompt, output and step of arrival of each request."""


@dataclass
class Seen:
    """One step: the sequences that could decode before it, and the rows that each got."""

    decoding: set
    rows: dict
    spans: dict
    plan: object
    excused: set
    """Who lost its place in this step, or was the lowest-ranked one and found no block left to grow into."""
    starts: dict = field(default_factory=dict)


def serve(population, *, blocks=200, slots=4, budget=64, caching=False, depth=0, **schedule):
    """Run requests to their ends; yield what happened in each step."""
    spec = make_spec(
        slots=slots, blocks=blocks, page_size=4, max_model_len=4 * blocks, layers=LAYERS, pipeline_depth=depth
    )
    s = make_scheduler(spec, max_tokens=budget, order="fcfs", prefix_caching=caching, **schedule)
    executor, state = FakeExecutor(spec), s.state
    due = sorted(enumerate(population), key=lambda entry: entry[1][2])
    seen, flying = [], []
    for step in range(4000):
        while due and due[0][1][2] <= step:
            n, (prompt, output, _) = due.pop(0)
            ids = [(7 * n + i) % 50 for i in range(prompt)]
            s.submit(make_request(f"r{n}", ids, max_tokens=output, ignore_eos=True), 1.0 + step)
        decoding = {
            q.id
            for q in state.running
            if q.target - q.planned == 1 and q.planned >= q.prompt_length and q.target < q.max_total
        }
        before = {q.id: q.preemptions for q in state.sequences.values()}
        plan = s.plan(1.0 + step)
        if plan is not None:
            members = state.in_flight[-1][1]
            ids = [q.id for q, _ in members]
            items = dict(zip(ids, plan.items, strict=True))
            lost = {q.id for q in state.sequences.values() if q.preemptions > before[q.id]}
            if not state.kv.available:
                lost |= {q.id for q in state.running.ranked(state.now)[-1:] if q.planned == q.room}
            seen.append(
                Seen(
                    decoding,
                    {i: item.length for i, item in items.items()},
                    {i: item.layers for i, item in items.items()},
                    plan,
                    lost,
                    {i: item.start for i, item in items.items()},
                )
            )
            executor.submit(plan)
            flying.append(plan)
        if flying and (len(flying) > depth or plan is None):
            s.land(executor.collect(flying.pop(0).ticket), 1.0 + step)
        if not due and not state.sequences and not flying:
            return seen, s
    raise AssertionError("somebody starved")


# -- Sarathi ------------------------------------------------------------------------------------------


@BOUNDED
@given(population=POPULATION, tau=st.integers(4, 40), blocks=st.integers(18, 60))
def test_chunked_is_stall_free_within_its_budget(population, tau, blocks):
    seen, _ = serve(population, blocks=blocks, shape=f"chunked({tau})")
    for step in seen:
        assert step.plan.shape.tokens <= tau
        for name in step.decoding - step.excused:
            assert step.rows.get(name) == 1, "a resident decode was stalled"


@BOUNDED
@given(population=POPULATION, tau=st.integers(4, 40), shape=st.sampled_from(["chunked", "splitfuse"]))
def test_chunks_cover_each_prompt_once_in_order(population, tau, shape):
    seen, _ = serve(population, shape=f"{shape}({tau})")
    at = {}
    for step in seen:
        for name, rows in step.rows.items():
            assert step.starts[name] == at.get(name, 0)
            at[name] = step.starts[name] + rows
    for n, (prompt, output, _) in enumerate(population):
        assert at[f"r{n}"] == prompt + output - 1


def test_prefill_first_stalls_where_chunked_does_not():
    population = [(4, 12, 0), (4, 12, 0), (60, 2, 4)]
    stalls = {}
    for shape in ("chunked(8)", "prefill-first"):
        seen, _ = serve(population, shape=shape)
        stalls[shape] = sum(len(step.decoding - set(step.rows)) for step in seen)
    assert stalls["chunked(8)"] == 0 < stalls["prefill-first"]


# -- SplitFuse ----------------------------------------------------------------------------------------


def test_backlogged_forwards_have_the_fixed_size():
    for seed in range(10):
        found = backlog_run(seed)
        assert found.backlogged > 0
        assert found.full >= 0.9 * found.backlogged
        assert found.unaccounted == found.unfinished == 0


def test_the_unfinished_prompt_goes_before_new_ones():
    seen, _ = serve([(50, 1, 0), (50, 1, 0), (50, 1, 0)], shape="splitfuse(16)")
    finished = []
    for step in seen:
        finished += [name for name, item in zip(step.rows, step.plan.items, strict=True) if item.sample]
        begun = {name for name in step.rows if step.starts[name] == 0 and step.rows[name] < 16}
        assert len(begun) <= 1
    assert finished == ["r0", "r1", "r2"]


# -- layered prefill ----------------------------------------------------------------------------------


@BOUNDED
@given(
    population=POPULATION,
    stages=st.integers(2, 9),
    unit=st.integers(1, 8),
    cohort=st.integers(8, 40),
    depth=st.integers(0, 1),
    caching=st.booleans(),
)
def test_layered_computes_each_token_and_layer_once(population, stages, unit, cohort, depth, caching):
    policy = Layered(stages, cohort, unit)
    seen, s = serve(
        population, shape=f"layered({stages}, {cohort}, {unit})", depth=depth, caching=caching, budget=64
    )
    done, underway, took = {}, {}, 0
    for step in seen:
        staged = {name: span for name, span in step.spans.items() if span is not None}
        assert step.plan.shape.cohort_tokens == sum(step.rows[name] for name in staged)
        assert step.plan.shape.cohort_tokens <= cohort
        assert step.plan.shape.tokens <= 64
        if underway:
            assert set(staged) == set(underway), "nobody joins or leaves a cohort on its way"
            assert all(step.rows[name] == 1 for name in set(step.rows) - set(staged)), (
                "decodes only beside it"
            )
        for name in step.decoding - step.excused - set(staged):
            assert step.rows.get(name) == 1 and step.spans[name] is None, "decodes pass all layers each step"
        if staged:
            assert len(set(staged.values())) == 1
            first, stop = next(iter(staged.values()))
            for name in staged:
                assert underway.get(name, 0) == first
            underway = {name: stop for name in staged} if stop < LAYERS else {}
            took += 1
            if stop == LAYERS:
                assert took == min(stages_of(policy, step.plan.shape.cohort_tokens), LAYERS)
                took = 0
        for name, rows in step.rows.items():
            span = step.spans[name]
            layers = LAYERS if span is None else span[1] - span[0]
            done[name] = done.get(name, 0) + rows * layers
    cached = s.stats().prefix_hit_tokens if caching else 0
    want = sum(prompt + output - 1 for prompt, output, _ in population) - cached
    assert sum(done.values()) == want * LAYERS


def stages_of(policy, tokens):
    return next((groups for most, groups in policy.table if tokens <= most), policy.table[-1][1])


@pytest.mark.parametrize(("tokens", "groups"), [(4, 1), (8, 2), (9, 3), (16, 3), (40, 3)])
def test_first_token_comes_after_exactly_as_many_steps_as_there_are_groups(tokens, groups):
    seen, _ = serve([(tokens, 1, 0)], shape="layered(3, 40, 4)")
    assert len(seen) == groups
    assert [step.plan.items[0].sample for step in seen] == [False] * (groups - 1) + [True]


def test_the_papers_table():
    table = Layered().table
    assert table == ((512, 1), (1024, 2), (2048, 4), (4096, 8), (8192, 16))
    assert Layered(4).table[:2] == ((512, 1), (1024, 2)) and stages_of(Layered(4), 1025) == 4
    assert stages_of(Layered(12), 4097) == 12 and stages_of(Layered(24), 8192) == 16


def test_a_preempted_member_starts_over_and_the_others_go_on():
    spec = make_spec(slots=4, blocks=12, page_size=4, max_model_len=48, layers=LAYERS)
    s = make_scheduler(
        spec,
        max_tokens=40,
        order="fcfs",
        prefix_caching=False,
        shape="layered(6, 32, 4)",
        preempt="newest",
        reserve="known(0)",
    )
    executor = FakeExecutor(spec)
    s.submit(make_request("old", 14, max_tokens=20, ignore_eos=True), 1.0)

    def step(now):
        plan = s.plan(now)
        executor.submit(plan)
        s.land(executor.collect(plan.ticket), now)
        return plan

    while not s.state.sequences["old"].generated:
        step(1.0)
    s.submit(make_request("a", 16, max_tokens=1, ignore_eos=True), 2.0)
    s.submit(make_request("b", 16, max_tokens=1, ignore_eos=True), 3.0)
    plan = step(4.0)
    a, b = s.state.sequences["a"], s.state.sequences["b"]
    assert plan.shape.cohort_tokens == 32 and s.state.cohort.stage == 1
    while not b.preemptions:
        step(5.0)  # "old" grows into its next block, of which there is none left
    stage = s.state.cohort.stage
    assert list(s.state.cohort.rows) == [a] and b.state is SeqState.READY and b.planned == 0
    assert 1 < stage < LAYERS
    for _ in range(LAYERS - stage):
        assert step(6.0).shape.cohort_tokens == 16
    assert "a" not in s.state.sequences and s.state.cohort is None
    while s.state.sequences:
        step(7.0)
    assert b.preemptions == 1 and s.state.counters.recomputed_tokens == 0


def test_cancelling_the_only_member_ends_the_cohort():
    from penstock.core.output import FinishReason

    spec = make_spec(layers=LAYERS)
    s = make_scheduler(spec, max_tokens=64, shape="layered(6, 32, 4)")
    s.submit(make_request("a", 30), 1.0)
    executor = FakeExecutor(spec)
    plan = s.plan(1.0)
    executor.submit(plan)
    s.land(executor.collect(plan.ticket), 1.0)
    assert s.state.cohort is not None
    s.cancel("a", 2.0, FinishReason.ABORT, "client")
    assert s.state.cohort is None and s.plan(2.0) is None


def test_with_many_decodes_prompts_go_in_chunks():
    seen, _ = serve([(4, 12, 0)] * 3 + [(40, 2, 6)], shape="layered(6, 32, 4, 2)", slots=4)
    late = [step for step in seen if len(step.decoding) == 3 and "r3" in step.rows]
    assert late and all(step.spans["r3"] is None and step.rows["r3"] <= 4 for step in late)


def test_layered_is_refused_by_name_where_layers_cannot_be_told_apart():
    with pytest.raises(ConfigError, match="layered prefill needs an executor that runs groups of layers"):
        make_scheduler(make_spec(layers=0), shape="layered")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("splitfuse(0)", "at least 1"),
        ("splitfuse(1.5)", "whole number"),
        ("layered(0)", "stages must be"),
        ("layered(4, 100, 200)", "cannot be larger"),
        ("layered(4, 100, 0)", "unit must be"),
        ("layered(4, 100, 10, -1)", "negative|cannot read"),
        ("chunked(-1)", "negative|cannot read"),
    ],
)
def test_bad_arguments_are_config_errors(text, says):
    with pytest.raises(ConfigError, match=says):
        parse_policy("shape", text)
