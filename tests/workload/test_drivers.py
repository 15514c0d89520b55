"""Drivers under a world that answers after a second: who sends what, when, quoting what."""

import itertools

import pytest

from penstock.core.errors import ConfigError
from penstock.workload.drivers.closed import ClosedLoop
from penstock.workload.drivers.programs import Program, Programs, Step, within
from penstock.workload.drivers.trees import Tree, Trees
from penstock.workload.generate import streams
from penstock.workload.request import Span, TraceRequest
from tests.workload.world import FakeWorld


def plain(count):
    for i in range(count):
        yield TraceRequest(id=str(i), arrival=99.0, prompt=(Span(i + 1, 3),), output_tokens=1)


def test_closed_loop_keeps_its_clients_busy():
    world = FakeWorld(ClosedLoop(plain(10), 3)).run()
    assert world.peak == 3
    assert len(world.requests) == 10
    assert [time for time, _ in world.requests] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_closed_loop_pauses():
    world = FakeWorld(ClosedLoop(plain(3), 1, lambda: 0.5)).run()
    assert [time for time, _ in world.requests] == [0.5, 2.0, 3.5] or [t for t, _ in world.requests] == [
        0,
        1.5,
        3,
    ]


STEPS = [Step(10, 4, 2.0, "search", think=1), Step(5, 3, 0.5, "edit"), Step(2, 6)]


def program(name="p", arrival=3.0, steps=tuple(STEPS)):
    return Program(id=name, arrival=arrival, steps=steps, opening=(Span(1, 20),), tenant="t")


def run(programs, **rest):
    numbers = itertools.count(2)
    driver = Programs(iter(programs), numbers, **rest)
    return driver, FakeWorld(driver).run()


def test_a_program_waits_for_its_tools_and_says_where_it_stands():
    driver, world = run([program()])
    assert [time for time, _ in world.requests] == [3.0, 6.0, 7.5]
    turns = [request.turn for _, request in world.requests]
    assert [(t.index, t.last, t.tool) for t in turns] == [
        (0, False, "search"),
        (1, False, "edit"),
        (2, True, None),
    ]
    assert {request.program for _, request in world.requests} == {"p"}
    assert [r.think_tokens for _, r in world.requests] == [1, 0, 0]
    assert driver.completed == 1


def test_the_next_prompt_quotes_prompt_and_visible_answer_exactly():
    _, world = run([program()])
    first, second, third = (request for _, request in world.requests)
    assert first.prompt_tokens == 30
    answer = tuple(Span(first.output_stream, 4).ids())
    assert second.prompt_ids()[:33] == first.prompt_ids() + answer[1:]
    assert second.prompt_tokens == 38
    assert third.prompt_ids()[:38] == second.prompt_ids()
    assert third.prompt_ids()[38:41] == tuple(Span(second.output_stream, 3).ids())
    assert len(set(third.prompt_ids())) == third.prompt_tokens  # nothing repeats


def test_thoughts_can_be_kept():
    _, world = run([program()], drop_thoughts=False)
    first, second, _ = (request for _, request in world.requests)
    assert second.prompt_ids()[:34] == first.prompt_ids() + tuple(Span(first.output_stream, 4).ids())


def test_programs_share_only_their_opening():
    _, world = run([program("a"), program("b")])
    a, b = (next(r for _, r in world.requests if r.id == f"{name}.2") for name in "ab")
    assert set(a.prompt_ids()) & set(b.prompt_ids()) == set(Span(1, 20).ids())


def test_programs_in_closed_loop():
    driver, world = run([program(str(i)) for i in range(5)], at_once=2)
    assert world.peak == 2
    assert driver.completed == 5
    assert world.requests[0][0] == 0.0


def test_a_failed_turn_ends_its_program():
    driver = Programs(iter([program("a"), program("b")]), streams())
    world = FakeWorld(driver, fail=lambda request: request.id == "a.1").run()
    assert (driver.completed, driver.failed) == (1, 1)
    assert not any(request.id == "a.2" for _, request in world.requests)


def test_steps_are_cut_to_the_context():
    steps = [Step(10, 5, think=2), Step(10, 5), Step(10, 5)]
    assert within(iter(steps), 10, 100) == steps
    assert len(within(iter(steps), 10, 38)) == 2  # 10+10+5, then 10+10+3+10+5 = 38
    assert len(within(iter(steps), 10, 38, drop_thoughts=False)) == 1
    with pytest.raises(ConfigError, match="context"):
        within(iter(steps), 10, 24)


def test_trees_have_every_node_and_share_paths():
    tree = Tree(id="t", arrival=1.0, root=(Span(1, 50),), branches=4, depth=4, output=20, quote=8)
    world = FakeWorld(Trees(iter([tree]), itertools.count(2))).run()
    assert len(world.requests) == 340
    by_id = {request.id: request for _, request in world.requests}
    leaf, parent = by_id["t.1.2.3.0"], by_id["t.1.2.3"]
    assert leaf.prompt_ids() == parent.prompt_ids() + tuple(Span(parent.output_stream, 8).ids())
    assert leaf.prompt_tokens == 50 + 3 * 8
    assert sorted({time for time, _ in world.requests}) == [1, 2, 3, 4]


def test_a_failed_thought_is_not_continued():
    tree = Tree(id="t", arrival=0.0, root=(Span(1, 5),), branches=2, depth=2, output=2, quote=9)
    world = FakeWorld(Trees(iter([tree]), itertools.count(2)), fail=lambda r: r.id == "t.0").run()
    assert [request.id for _, request in world.requests] == ["t.0", "t.1", "t.1.0", "t.1.1"]
