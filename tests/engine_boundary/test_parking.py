"""Submissions that wait for a grammar are passed by, woken for, and forgotten when nobody wants them."""

import threading
from concurrent.futures import Future

import pytest
import zmq

from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.output import Finish, FinishReason, Output
from penstock.core.request import GrammarSpec, RequestSpec
from penstock.engine.grammars import GrammarDesk, compile_all
from penstock.engine.ipc import EnginePort
from penstock.engine.messages import Submit
from penstock.engine.parking import Parking


class Compiler:
    def __init__(self):
        self.futures = {}

    def compile(self, spec):
        return self.futures.setdefault(spec.text, Future())


def request(name, text=None):
    grammar = None if text is None else GrammarSpec(kind="regex", text=text, field="regex")
    return RequestSpec(id=name, prompt_ids=(1,), grammar=grammar)


@pytest.fixture
def woken():
    return []


@pytest.fixture
def parking(woken):
    return Parking(lambda: woken.append(1))


def test_a_submission_waits_for_all_its_grammars_and_others_pass(parking, woken):
    compiler = Compiler()
    desk = GrammarDesk(compiler)
    assert not parking.park(b"api", Submit(1, (request("free"),)), desk)
    slow = Submit(2, (request("a", "x"), request("b", "y"), request("c")))
    assert parking.park(b"api", slow, desk)
    quick = Submit(3, (request("d", "z"),))
    assert parking.park(b"api", quick, desk)
    compiler.futures["z"].set_result("Z")
    assert [one[1] for one in parking.ready()] == [quick]
    compiler.futures["x"].set_result("X")
    assert parking.ready() == []
    compiler.futures["y"].set_exception(ValueError("bad"))
    assert [one[1] for one in parking.ready()] == [slow]
    assert parking.ready() == []
    assert len(woken) == 3
    assert not parking.park(b"api", Submit(4, (request("e", "x"),)), desk), "it is there already"


def test_what_a_client_no_longer_wants_is_forgotten(parking):
    compiler = Compiler()
    desk = GrammarDesk(compiler)
    parking.park(b"api", Submit(1, (request("a", "x"), request("b", "x"))), desk)
    parking.drop(b"api", ["a"])
    parking.drop(b"other", ["a", "b"])
    compiler.futures["x"].set_result("X")
    assert len(parking.ready()) == 1
    parking.park(b"api", Submit(2, (request("a", "y"), request("b", "y"))), desk)
    parking.drop(b"api", ["a", "b", "c"])
    compiler.futures["y"].set_result("Y")
    assert parking.ready() == []


def test_a_desk_holds_a_grammar_until_the_end_of_its_request():
    compiler = Compiler()
    desk = GrammarDesk(compiler)
    compiler.compile(GrammarSpec(kind="regex", text="x")).set_result("X")
    desk.take(request("a", "x"))
    desk.take(request("plain"))
    desk.landed([Output("a", (1,)), Output("b", (), Finish(FinishReason.STOP))])
    assert desk._held == {"a": "X"}
    desk.landed([Output("a", (), Finish(FinishReason.ABORT))])
    assert desk._held == {}


def test_refusals_keep_their_kind_and_name_the_field():
    compiler = Compiler()
    desk = GrammarDesk(compiler)
    compiler.compile(GrammarSpec(kind="regex", text="x")).set_exception(ValueError("not closed"))
    compiler.compile(GrammarSpec(kind="regex", text="y")).set_exception(Overloaded("too many", 1.0))
    compiler.compile(GrammarSpec(kind="regex", text="z")).set_result("Z")
    with pytest.raises(InvalidRequest) as refused:
        desk.take(request("a", "x"))
    assert refused.value.field == "regex"
    with pytest.raises(Overloaded):
        desk.take(request("a", "y"))
    assert compile_all(desk, [request("a", "z"), request("b"), request("c", "z")]) == ["Z", "Z"]
    with pytest.raises(InvalidRequest):
        compile_all(desk, [request("a", "z"), request("b", "x")])
    assert compile_all(None, [request("a", "x")]) == []


def test_a_port_that_waits_can_be_woken_from_any_thread():
    context = zmq.Context()
    port = EnginePort(context, "inproc://woken")
    timer = threading.Timer(0.05, port.wake)
    timer.start()
    assert port.wait(30_000) is False
    timer.join()
    for _ in range(100_000):
        port.wake()  # more than a pipe holds
    assert port.wait(0) is False
    port.close()
    port.wake()
    context.term()
