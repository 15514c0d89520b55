"""The scheduler's behaviour that users notice: mixing, chunking, priorities, limits, refusals."""

import pytest

from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.output import FinishReason
from penstock.core.states import IllegalTransition, SeqState, transition
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor


def step(s, executor, now=1.0):
    plan = s.plan(now)
    if plan is not None:
        executor.submit(plan)
        s.land(executor.collect(plan.ticket), now)
    return plan


def test_chunked_prefill_rides_beside_decodes():
    s, ex = make_scheduler(make_spec(), max_tokens=8), FakeExecutor(make_spec())
    s.submit(make_request("a", 3, max_tokens=20), 1.0)
    step(s, ex)
    s.submit(make_request("b", 20, max_tokens=5), 1.0)
    shapes = [step(s, ex).shape for _ in range(3)]
    assert [(x.decodes, x.prefill_tokens) for x in shapes] == [(1, 7), (1, 7), (1, 6)]


def test_prefill_first_stalls_decodes_and_does_not_cut_prompts():
    s, ex = make_scheduler(make_spec(), max_tokens=24, shape="prefill-first"), FakeExecutor(make_spec())
    s.submit(make_request("a", 3, max_tokens=20), 1.0)
    step(s, ex)
    for token in (1, 2):
        s.submit(make_request(f"b{token}", [token] * 20, max_tokens=5), 1.0)
    shapes = [step(s, ex).shape for _ in range(3)]
    assert [(x.decodes, x.prefill_tokens) for x in shapes] == [(0, 20), (0, 20), (3, 0)]


def test_urgent_request_displaces_a_lower_one_for_its_slot():
    spec = make_spec(slots=1)
    s, ex = make_scheduler(spec, order="priority > fcfs"), FakeExecutor(spec)
    s.submit(make_request("low", 4, max_tokens=10, priority=5), 1.0)
    step(s, ex)
    s.submit(make_request("urgent", 4, max_tokens=3, priority=0), 1.0)
    for _ in range(3):
        step(s, ex)
    assert [o.request_id for o in s.state.outbox if o.finish] == ["urgent"]
    assert s.state.sequences["low"].preemptions == 1
    while s.state.sequences:
        step(s, ex)
    low = [t for o in s.state.outbox if o.request_id == "low" for t in o.tokens]
    assert len(low) == 10


def test_no_steps_when_there_is_no_work():
    s = make_scheduler(make_spec())
    assert s.plan(1.0) is None


def test_stop_token_eos_and_min_tokens():
    spec = make_spec(vocab_size=3)
    base = {"max_tokens": 30, "eos_ids": (2,)}
    runs = {
        "eos": make_request("eos", [1, 2, 0], **base),
        "ignore": make_request("ignore", [1, 2, 0], ignore_eos=True, **base),
        "min": make_request("min", [1, 2, 0], min_tokens=12, **base),
        "stop": make_request("stop", [1, 2, 0], ignore_eos=True, stop_token_ids=(1,), **base),
    }
    got = {}
    for name, request in runs.items():
        s, ex = make_scheduler(spec), FakeExecutor(spec)
        s.submit(request, 1.0)
        while s.state.sequences:
            step(s, ex)
        tokens = [t for o in s.state.outbox for t in o.tokens]
        got[name] = (tokens, s.state.outbox[-1].finish)
    full = got["ignore"][0]
    assert len(full) == 30 and got["ignore"][1].reason is FinishReason.LENGTH
    first = full.index(2)
    assert got["eos"][0] == full[: first + 1] and got["eos"][1].stop_token == 2
    assert got["min"][0] == full[: next(i for i, t in enumerate(full) if t == 2 and i >= 11) + 1]
    assert got["stop"][0] == full[: full.index(1) + 1] and got["stop"][1].reason is FinishReason.STOP


def test_context_length_ends_a_sequence():
    spec = make_spec(max_model_len=12)
    s, ex = make_scheduler(spec), FakeExecutor(spec)
    s.submit(make_request("a", 10, max_tokens=50), 1.0)
    while s.state.sequences:
        step(s, ex)
    assert sum(len(o.tokens) for o in s.state.outbox) == 2
    assert s.state.outbox[-1].finish.reason is FinishReason.LENGTH


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (make_request("x", []), "prompt"),
        (make_request("x", 128), "prompt"),
        (make_request("x", 100, max_tokens=20), "max_tokens"),
    ],
)
def test_what_can_never_run_is_refused(request_, field):
    s = make_scheduler(make_spec(blocks=28))
    with pytest.raises(InvalidRequest) as caught:
        s.submit(request_, 1.0)
    assert caught.value.field == field
    assert not s.state.sequences and not len(s.state.waiting)


def test_duplicate_id_is_refused_and_the_first_goes_on():
    s = make_scheduler(make_spec())
    s.submit(make_request("x", 3), 1.0)
    with pytest.raises(InvalidRequest, match="in use"):
        s.submit(make_request("x", 3), 1.0)
    assert len(s.state.waiting) == 1


def test_queue_bound_turns_away_with_a_hint():
    s = make_scheduler(make_spec(), admit="queue-bound(2, 3)")
    for n in range(2):
        s.submit(make_request(f"x{n}", 3), 1.0)
    with pytest.raises(Overloaded, match="2 requests are waiting") as caught:
        s.submit(make_request("y", 3), 1.0)
    assert caught.value.retry_after == 3.0


def test_results_must_come_in_order():
    s, ex = make_scheduler(make_spec()), FakeExecutor(make_spec())
    s.submit(make_request("x", 3), 1.0)
    plan = s.plan(1.0)
    ex.submit(plan)
    result = ex.collect(plan.ticket)
    with pytest.raises(ValueError, match="expected"):
        s.land(type(result)(99, result.items), 1.0)
    s.land(result, 1.0)


def test_transitions_outside_the_table_raise():
    s = make_scheduler(make_spec())
    s.submit(make_request("x", 3), 1.0)
    with pytest.raises(IllegalTransition, match="x: ready -> pinned"):
        transition(s.state.sequences["x"], SeqState.PINNED, 1.0, None)


def test_sink_hears_every_transition():
    heard = []

    class Sink:
        def emit(self, event):
            heard.append((event.old, event.new))

    s, ex = make_scheduler(make_spec()), FakeExecutor(make_spec())
    s.state.sink = Sink()
    s.submit(make_request("x", 3, max_tokens=1), 1.0)
    step(s, ex)
    assert heard == [("queued", "ready"), ("ready", "running"), ("running", "finished")]


def test_stats_add_up():
    spec = make_spec(blocks=12, slots=4)
    s, ex = make_scheduler(spec), FakeExecutor(spec)
    for n in range(6):
        s.submit(make_request(f"x{n}", [n] * 12, max_tokens=8), 1.0)
    while s.state.sequences:
        step(s, ex)
    c = s.state.counters
    assert c.submitted == 6 == sum(c.finished.values()) and c.generated_tokens == 48
    assert c.prompt_tokens == 72, "each prompt token counts once, however often it is computed again"
    computed = sum(p.shape.tokens for p in ex.plans)
    figures = s.stats()
    assert figures.step_tokens == computed and sum(figures.step_sizes) == figures.steps == len(ex.plans)
    for i, steps in enumerate(figures.step_sizes[:-1]):
        assert steps == sum(2**i // 2 < p.shape.tokens <= 2**i for p in ex.plans)
    assert c.preemptions > 0 and computed == c.prompt_tokens + c.recomputed_tokens + 48 - 6
