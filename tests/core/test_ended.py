"""A grammar that allows nothing more ends its sequence with "stop", whatever else was asked for."""

import msgspec
import pytest

from penstock.core.output import FinishReason
from penstock.core.plan import ItemResult, TokenLogprobs
from penstock.core.request import GrammarSpec
from penstock.testing.builders import make_request, make_scheduler, make_spec
from penstock.testing.fake_executor import FakeExecutor

SCORE = TokenLogprobs(1, 0.0, 1, ())


@pytest.mark.parametrize(
    ("item", "tokens", "stop"),
    [
        (ItemResult((2,), ended=True), (2,), 2),
        (ItemResult((), ended=True), (), None),
        (ItemResult((2,), prompt_logprobs=(SCORE,), ended=True), (2,), 2),
    ],
)
def test_ended(item, tokens, stop):
    s, ex = make_scheduler(make_spec()), FakeExecutor(make_spec())
    asked = make_request("x", 3, max_tokens=20, min_tokens=9, ignore_eos=True, eos_ids=(2,))
    grammar = GrammarSpec(kind="regex", text="a")
    s.submit(msgspec.structs.replace(asked, grammar=grammar), 1.0)
    plan = s.plan(1.0)
    assert plan.admits[0].grammar == grammar, "the executor is told of it"
    ex.submit(plan)
    result = ex.collect(plan.ticket)
    s.land(msgspec.structs.replace(result, items=(item,)), 1.0)
    outputs = s.take_outputs()
    assert tuple(t for out in outputs for t in out.tokens) == tokens
    finish = outputs[-1].finish
    assert (finish.reason, finish.stop_token) == (FinishReason.STOP, stop)
    assert s.state.sequences == {}
