"""Compiling in a process of its own: shared, kept, bounded; one worker serves all tests here."""

import json
import os
import signal
import time

import pytest

from penstock.core.errors import Overloaded, PenstockError
from penstock.runtime.grammar import service as module
from penstock.runtime.grammar.cache import GrammarCache
from penstock.runtime.grammar.protocol import GrammarError
from penstock.runtime.grammar.service import GrammarService
from penstock.runtime.grammar.worker import Limits
from tests.runtime.grammar.local import byte_vocabulary, spec

PATIENCE = 120


@pytest.fixture(scope="module")
def service():
    made = GrammarService("xgrammar", byte_vocabulary, Limits(cpu_seconds=1.0, memory_bytes=2**28))
    yield made
    made.close()


def refusal(service, of):
    with pytest.raises(GrammarError) as refused:
        service.compile(of).result(PATIENCE)
    return str(refused.value)


def test_a_grammar_is_compiled_once_and_shared(service):
    of = spec("regex", "[ab]+c")
    first, second = service.compile(of), service.compile(spec("regex", "[ab]+c", field="elsewhere"))
    assert first is second
    grammar = first.result(PATIENCE)
    assert service.find(of) is grammar
    assert service.compile(of).done()
    assert service.compile(of).result() is grammar
    assert service.starts == 1


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("regex", "a(", "not closed"),
        ("regex", "((a{1,100}){1,100}){1,100}", "ambiguous"),
        ("regex", "(" * 5000 + ")" * 5000, ""),
        ("grammar", "root ::= root", "no text at all"),
        ("json_schema", '{"$ref": "#"}', ""),
        ("json_schema", "[" * 100_000, "schema"),
        (
            "json_schema",
            json.dumps({"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(3000)}}),
            "complex",
        ),
    ],
)
def test_what_would_take_for_ever_is_refused_in_time(service, kind, text, says):
    began = time.monotonic()
    assert says in refusal(service, spec(kind, text))
    assert time.monotonic() - began < 60
    assert service.compile(spec(kind, text)).done(), "and is not tried again"
    assert service.starts == 1, "nor costs the worker its life"
    assert service.compile(spec("regex", "still[0-9]")).result(PATIENCE)


def test_a_worker_that_dies_is_replaced(service):
    service.compile(spec("regex", "before")).result(PATIENCE)
    worker = next(pid for pid in children() if "grammar.worker" in command(pid))
    started = service.starts
    os.kill(worker, signal.SIGKILL)
    for attempt in range(20):
        try:
            assert service.compile(spec("regex", f"after{attempt}")).result(PATIENCE)
            break
        except PenstockError:
            continue
    assert service.starts == started + 1


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        listed = {int(pid) for pid in file.read().split()}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/children", encoding="ascii") as file:
            listed |= {int(pid) for pid in file.read().split()}
    return listed


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def test_what_needs_no_worker_starts_none(monkeypatch):
    off = GrammarService(None, byte_vocabulary)
    assert "switched off" in refusal(off, spec("regex", "a"))
    idle = GrammarService("xgrammar", byte_vocabulary)
    assert "at most" in refusal(idle, spec("regex", "a" * (module.MAX_TEXT + 1)))
    monkeypatch.setattr(module, "MAX_PENDING", 0)
    with pytest.raises(Overloaded):
        idle.compile(spec("regex", "a")).result(1)
    assert idle.starts == 0


def test_a_vocabulary_that_cannot_be_read_fails_the_request_alone():
    def read():
        raise GrammarError("no bytes")

    broken = GrammarService("xgrammar", read)
    with pytest.raises(PenstockError, match="no bytes"):
        broken.compile(spec("regex", "a")).result(PATIENCE)
    with pytest.raises(PenstockError):
        broken.compile(spec("regex", "a")).result(PATIENCE)
    broken.close()


class _Grammar:
    def __init__(self, nbytes):
        self.nbytes = nbytes


def test_the_cache_keeps_within_its_bound_and_finds_what_is_in_use():
    cache = GrammarCache(100)
    one, two, three = (spec("regex", text) for text in "abc")
    used = _Grammar(60)
    cache.put(one, used)
    cache.put(two, _Grammar(50))
    assert cache.nbytes == 50
    assert cache.get(one) is used, "somebody still uses it"
    del used
    assert cache.get(one) is None
    assert cache.get(two) is not None
    cache.put(three, _Grammar(101))
    assert cache.get(three) is None
    assert cache.nbytes == 0
    cache.put(two, _Grammar(30))
    cache.put(two, _Grammar(40))
    assert cache.nbytes == 40
