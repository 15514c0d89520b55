"""Recording a real run and answering from the recording."""

import json

import msgspec
import pytest

from penstock.core.errors import StepFault
from penstock.core.executor import Executor
from penstock.core.plan import PlanShape, SlotInit, StepPlan, WorkItem
from penstock.core.request import SamplingParams
from penstock.executors.faults import FailFor
from penstock.executors.inline import build_executor
from penstock.executors.recording import Note, RecordingExecutor
from penstock.executors.replay import Diverged, ReplayExecutor
from tests.executors.tiny import Driver, Text, config_for


def texts():
    sampling = SamplingParams(temperature=1.0, seed=4, logit_bias={5: 2.0}, logprobs=1, prompt_logprobs=1)
    return [Text("a", (5, 6, 7, 8, 9), 6, sampling, chunk=2), Text("b", (9, 8), 4)]


def record(llama, fault=None):
    lines = []
    executor = RecordingExecutor(build_executor(config_for(llama[0]), fault=fault), lines.append)
    return executor, lines


def test_replay_gives_what_was_recorded(llama):
    executor, lines = record(llama)
    real = Driver(executor).run(texts())
    replay = ReplayExecutor(lines)
    assert replay.spec() == executor.spec()
    again = Driver(replay).run(texts())
    assert replay.left == 0
    for x, y in zip(real, again, strict=True):
        assert (x.output, x.logprobs, x.prompt_logprobs) == (y.output, y.logprobs, y.prompt_logprobs)
    _: tuple[Executor, Executor] = (executor, replay)


def test_each_step_is_one_line_of_json_with_shape_and_seconds(llama):
    executor, lines = record(llama)
    driver = Driver(executor)
    driver.run(texts())
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert json.loads(lines[0])["spec"]["page_size"] == 8
    notes = [msgspec.json.decode(line, type=Note) for line in lines[1:]]
    assert [note.plan for note in notes] == driver.plans
    assert all(isinstance(note.plan.shape, PlanShape) and note.result.seconds > 0 for note in notes)


def test_a_different_plan_is_refused_with_the_difference(llama):
    executor, lines = record(llama)
    Driver(executor).run(texts())
    with pytest.raises(Diverged, match=r"step 1, items: recorded .*asked for"):
        Driver(ReplayExecutor(lines), seed=1).run(texts())
    shape = PlanShape(0, 0, 0, 0, 0, 0, 0)
    with pytest.raises(Diverged, match="step 99 is not in the recording"):
        ReplayExecutor(lines).submit(StepPlan(99, (), (), (), shape))


@pytest.mark.parametrize("depth", [0, 1])
def test_faults_are_recorded_and_replayed(llama, depth):
    executor, lines = record(llama, FailFor("b"))
    real = Driver(executor).retry_alone(texts(), depth)
    assert real[0].error is None
    assert "poisoned" in real[1].error
    again = Driver(ReplayExecutor(lines)).retry_alone(texts(), depth)
    assert [(t.output, t.error) for t in again] == [(t.output, t.error) for t in real]


def test_steps_never_collected_are_recorded_as_such(llama):
    executor, lines = record(llama)
    driver = Driver(executor)
    text = Text("a", (5, 6, 7), 9, slot=0, target=3)
    driver.submit([text])
    driver.collect(driver.submit([text]))
    driver.submit([text])
    executor.close()
    notes = [msgspec.json.decode(line, type=Note) for line in lines[1:]]
    assert [(note.plan.ticket, note.result is None, note.fault) for note in notes] == [
        (1, True, None),
        (2, False, None),
        (3, True, None),
    ]


def test_a_recording_without_a_header_is_refused():
    shape = PlanShape(0, 0, 0, 0, 0, 0, 0)
    line = msgspec.json.encode(Note(plan=StepPlan(1, (), (), (), shape)))
    for lines in ([], [line]):
        with pytest.raises(ValueError, match="starts with a note of the executor's spec"):
            ReplayExecutor(lines)


def test_faults_follow_their_request_from_slot_to_slot():
    fault = FailFor("x", times=1)
    shape = PlanShape(0, 0, 0, 0, 0, 0, 0)
    init = SlotInit(3, "x", (1,), 1, SamplingParams(), ())
    items = [WorkItem(slot, 0, 1, 0, (), True) for slot in (2, 3)]
    fault(StepPlan(1, (init,), (items[0],), (), shape))
    with pytest.raises(RuntimeError, match="poisoned"):
        fault(StepPlan(2, (), (items[1],), (), shape))
    fault(StepPlan(3, (), (items[1],), (), shape))  # only once
    always = FailFor("x")
    always(StepPlan(1, (init,), (), (), shape))
    always(StepPlan(2, (), (items[1],), (3,), shape))  # freed before it runs
    with pytest.raises(StepFault):
        FailFor("x", error=lambda: StepFault("mine"))(StepPlan(1, (init,), (items[1],), (), shape))
