"""Which policies go together: refusals by name, cautions, and legal stacks that keep their books."""

import pytest

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.engine.build import assemble, build
from penstock.policies.bundle import build_policies, policy_cautions
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.combine import Lexicographic, displaces
from penstock.policies.parse import parse_policy
from penstock.policies.registry import names
from penstock.policies.traits import Traits, trait
from penstock.reproduce.composition import Arena, breaches, endure, pairs, silent_starvers, unnamed
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.conformance import check_order
from penstock.testing.fake_executor import FakeExecutor
from penstock.testing.stacks import SLOTS, covering, legal_orders, refusal, texts
from penstock.testing.worlds import Player, make_world, wait_of_unloved

BASE = {"shape": "chunked", "preempt": "newest", "admit": "unlimited", "reserve": "known", "retain": "none"}


def refused(caching=True, **schedule):
    with pytest.raises(ConfigError) as caught:
        build_policies(ScheduleConfig(**schedule), CacheConfig(enable_prefix_caching=caching))
    return caught.value


def lines(cost=None, **schedule):
    return " | ".join(policy_cautions(ScheduleConfig(**schedule), cost=cost))


@pytest.mark.parametrize(
    ("order", "culprit", "why"),
    [
        ("vtc > dlpm", "'vtc' and 'dlpm'", "which tenant is next"),
        ("per-tenant(vtc)", "'per-tenant' and 'vtc'", "which tenant is next"),
        ("priority > vtc > lcf", "'vtc' and 'lcf'", "which tenant is next"),
        ("fcfs > priority", "'fcfs'", "hardly ever equal"),
        ("per-tenant(fcfs) > sjf", "'fcfs'", "hardly ever equal"),
        ("per-tenant(srtf) > fcfs", "'srtf'", "move with time"),
        ("priority > srtf > fcfs", "'srtf'", "come last"),
        ("sjf > vtc", "'sjf'", "voids the fairness"),
        ("lpm > dlpm", "'lpm'", "voids the fairness"),
        ("aged(prefix-groups, 9s) > vtc", "'prefix-groups'", "voids the fairness"),
        ("priority > sjf > priority", "'priority'", "twice"),
        ("foothold(foothold(vtc))", "'foothold'", "twice"),
        ("ltr > vtc", "ltr", "come last"),
        ("edf > vtc", "'edf'", "come last"),
        ("program-fcfs > vtc", "program-fcfs", "come last"),
    ],
)
def test_orders_that_make_no_sense_together_are_refused_by_name(order, culprit, why):
    error = refused(order=order)
    assert error.field == "schedule.order"
    assert culprit in error.message and why in error.message


@pytest.mark.parametrize("order", ["lpm", "dlpm", "priority > lpm", "vtc > prefix-groups"])
def test_orders_by_cached_prefix_need_a_cache(order):
    error = refused(caching=False, order=order)
    assert error.field == "schedule.order" and "enable_prefix_caching" in error.message
    assert refusal({"order": order}) is None


@pytest.mark.parametrize("retain", ["ttl(1s)", "continuum", "groups"])
def test_pins_need_a_cache(retain):
    error = refused(caching=False, retain=retain)
    assert error.field == "schedule.retain" and repr(retain.split("(")[0]) in error.message


@pytest.mark.parametrize(
    ("schedule", "says"),
    [
        ({"order": "sjf"}, "'sjf' lets long answers wait"),
        ({"order": "vtc > lpm"}, "'lpm' lets prompts that nobody shares wait"),
        ({"order": "priority > vtc"}, "'priority': tenants are treated fairly only among"),
        ({"order": "aged(vtc, 9s)"}, "whoever has aged goes by arrival"),
        ({"order": "aged(priority, 9s) > vtc"}, "whoever has aged goes by arrival"),
        ({"order": "vtc"}, "bound on service holds only where nothing is preempted"),
        ({"order": "priority > vtc", "reserve": "final"}, "bound on service holds only"),
        ({"order": "ltr(displace=yes)"}, "displaces running decodes"),
        ({"order": "vtc > priority"}, "'priority': it stands behind an order that displaces nobody"),
        ({"order": "ltr", "retain": "continuum"}, "long turns hold up the programs"),
        (
            {"order": "vtc > program-fcfs", "retain": "ttl(1s)"},
            "'ttl': pinned memory is charged to no tenant",
        ),
        ({"retain": "continuum"}, "'continuum': a turn that comes back waits like a newcomer"),
        ({"order": "fcfs", "reserve": "headroom"}, "'headroom': urgent requests get room and yet wait"),
        ({"shape": "layered"}, "layered(decodes=64)"),
        ({"shape": "slo", "cost": False}, "'slo' learns the engine's pace"),
        ({"order": "urgency", "cost": False}, "'urgency' orders by deadline alone"),
        ({"admit": "deadline", "cost": False}, "'deadline' refuses only while others wait"),
    ],
)
def test_what_may_surprise_is_said_at_start(schedule, says):
    assert says in lines(**schedule)


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"order": "fcfs"},
        {"order": "vtc", "reserve": "final"},
        {"order": "vtc > aged(sjf, 9s)", "reserve": "final"},
        {"order": "aged(priority, 9s) > fcfs"},
        {"order": "program-fcfs", "retain": "continuum"},
        {"order": "priority > fcfs", "reserve": "headroom"},
        {"shape": "layered(decodes=64)"},
        {"shape": "layered", "max_num_seqs": 16},
        {"shape": "slo", "order": "aged(urgency, 9s)", "admit": "deadline", "cost": True},
        {"shape": "prefill-first", "order": "aged(srtf, 9s)"},
    ],
)
def test_what_goes_together_well_is_silent(schedule):
    assert lines(**schedule) == ""


def test_policies_of_others_need_not_know_of_traits():
    class Bare:
        static = stops = True

        def key(self, seq, now):
            return 0

    assert trait(Bare(), "starves") == "" and trait(Bare(), "leaves_equals") is True
    assert displaces(Bare()) and not displaces(KeyOrder())


def test_declared_traits_exist():
    known = {name for name in vars(Traits) if not name.startswith("_")}
    used = {
        name
        for slot in SLOTS
        for text in texts(slot)
        for kind in type(parse_policy(slot, text)).__mro__
        if kind.__module__.startswith("penstock.policies") and kind is not KeyOrder
        for name, value in vars(kind).items()
        if isinstance(value, bool | str) and not name.startswith("_")
    }
    assert used - known <= {"static", "stops", "reason"}, "a trait that nobody reads: misspelt?"


# -- behind an order that displaces nobody -------------------------------------------------------------


@pytest.mark.parametrize("order", ["sjf > priority", "vtc > priority", "priority > sjf > srtf", "vtc > mlfq"])
def test_displacing_behind_others_keeps_the_contract(order):
    check_order(lambda: parse_policy("order", order))


def test_the_first_order_still_displaces_and_a_later_one_does_not():
    assert displaces(parse_policy("order", "priority > sjf"))
    assert not displaces(parse_policy("order", "sjf > priority"))
    assert not displaces(parse_policy("order", "per-tenant(priority)"))
    assert displaces(parse_policy("order", "aged(priority, 1s)"))
    assert not displaces(parse_policy("order", "ltr")) and displaces(
        parse_policy("order", "ltr(displace=yes)")
    )


# -- what the stacks found -----------------------------------------------------------------------------


def test_room_made_by_displacing_is_not_taken_by_those_passed_over():
    """Under an order that lets others pass, the displaced one used to come back before the room was there."""
    spec = make_spec(blocks=9, slots=4, page_size=4, max_model_len=36)
    s = make_scheduler(spec, max_tokens=40, order="priority > lpm", reserve="known(0)")
    executor = FakeExecutor(spec)
    s.submit(make_request("low", 20, max_tokens=12, priority=1), 1.0)
    executor.submit(s.plan(1.0))
    s.submit(make_request("high", 24, max_tokens=4, priority=0), 1.0)
    s.plan(1.1)  # with a step in flight: low is displaced, its blocks come back when that lands
    low, high = s.state.sequences["low"], s.state.sequences["high"]
    assert low.preemptions == 1 and low.queued and high.queued
    s.submit(make_request("small", 4, max_tokens=4, priority=2), 1.1)
    plan = s.plan(1.1)
    assert plan is None and s.state.sequences["small"].queued, "small took room that was made for high"
    s.land(executor.collect(1), 1.2)
    s.plan(1.3)
    assert not high.queued


def test_prefill_first_does_not_admit_into_room_made_for_growth():
    world = make_world(2002, 200)
    stack = BASE | {
        "order": "aged(ltr(20, 4, displace=yes), 1s)",
        "shape": "prefill-first",
        "reserve": "headroom(0.2)",
        "retain": "continuum(8)",
    }
    soak = Player(ScheduleConfig(**stack), world).play()
    assert soak.preemptions > 0


@pytest.mark.parametrize("tenant", ["busy", "late"])
def test_promoted_feedback_sequences_are_not_displaced_before_they_got_anything(tenant):
    schedule = ScheduleConfig(order="mlfq(4, 1s)", admit="unlimited")
    assert wait_of_unloved(schedule, tenant, 300) < 150


def test_steps_that_land_after_a_displacement_do_not_move_the_waiting():
    order = parse_policy("order", "ltr(1, 1, displace=yes)")

    class View:
        step = 0

    view = View()
    order.bind(view)
    scheduler = make_scheduler(make_spec())
    scheduler.submit(make_request("a", 4, length_score=5.0), 1.0)
    seq = scheduler.state.sequences["a"]
    order.on_arrive(seq, 0.0)
    view.step = 3
    assert order.key(seq, 0.0)[0] == 0  # promoted
    order.on_admit(seq, 0.0)
    order.on_preempt(seq, 0.0)
    index = order.index()
    index.add(seq)
    order.on_tokens(seq, 0, 1)  # of a step that was in flight
    assert order.key(seq, 0.0)[0] == 0, "the key left the place that the index has it at"


# -- whole stacks --------------------------------------------------------------------------------------


def test_every_policy_is_in_some_stack():
    stacks = covering(texts("order"))
    for slot in SLOTS:
        for text in texts(slot):
            assert any(text in stack[slot] for stack in stacks), f"{slot} {text} is in no stack"
    wrappers = {"aged", "per-tenant", "foothold"}
    assert {name for name in names("order")} == wrappers | {t.split("(")[0] for t in texts("order")}


def test_every_pair_is_legal_or_refused_with_a_name():
    legal, no = legal_orders()
    assert len(legal) > 150 and len(no) > 150
    assert not unnamed(no)


def test_legal_stacks_keep_their_books_on_random_steps():
    stacks = covering(legal_orders()[0], seed=1)
    arena = Arena(5, 150)
    for stack in stacks[::4]:
        seen = endure(stack, arena, 200, 2)
        assert seen.violations == 0 and seen.different == 0, stack
        assert seen.steps >= 200


def test_orders_without_end_say_so():
    assert silent_starvers(legal_orders()[0][::5], 200) == []
    assert wait_of_unloved(ScheduleConfig(order="sjf", admit="unlimited"), "late", 200) > 200


def test_worlds_find_a_stack_that_starves(monkeypatch):
    monkeypatch.setattr("penstock.core.queue.WaitingQueue.candidates", lambda self, now: iter(()))
    with pytest.raises(AssertionError, match="starved"):
        Player(ScheduleConfig(order="fcfs", admit="unlimited"), make_world(1, 50)).play()


def test_worlds_find_a_wrong_context(monkeypatch):
    monkeypatch.setattr("penstock.testing.worlds.next_token", lambda tokens, vocab: 1)
    with pytest.raises(AssertionError, match=r"wrong tokens|ended early"):
        Player(ScheduleConfig(order="fcfs", admit="unlimited"), make_world(1, 50)).play()


def test_contract_check_finds_a_breach(monkeypatch):
    """As it was before: displacing behind an order that displaces nobody."""

    def may_displace(self, waiting, running, now):
        return any(part.may_displace(waiting, running, now) for part in self.parts())

    monkeypatch.setattr(Lexicographic, "may_displace", may_displace)
    assert breaches(["sjf > priority"]) == ["sjf > priority"]


def test_quick_experiment_meets_its_bars_but_for_length():
    figures = pairs(0, True)
    for name in (
        "violations",
        "outputs_unlike_fcfs",
        "silent_starvers",
        "contract_breaches",
        "stacks_refused",
    ):
        assert figures[name] == 0
    assert figures["preemptions"] > 50


# -- at start ------------------------------------------------------------------------------------------


def test_cautions_reach_the_api_side():
    config = Config(schedule=ScheduleConfig(order="sjf"))
    info = assemble(config, FakeExecutor(make_spec())).info
    assert any("'sjf' lets long answers wait" in line for line in info.cautions)


def test_a_bad_stack_is_refused_before_the_model_is_looked_for():
    config = Config(model=ModelConfig(model="/no/such/model"), schedule=ScheduleConfig(order="vtc > dlpm"))
    with pytest.raises(ConfigError, match=r"schedule\.order: 'vtc' and 'dlpm'"):
        build(config, print)
