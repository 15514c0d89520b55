import pytest
from tokenizers_for_tests import fast

from penstock.core.output import Finish, FinishReason, Output
from penstock.core.plan import TokenLogprobs
from penstock.core.request import RequestSpec
from penstock.frontend.assembly import Assembly
from penstock.frontend.outputs import RequestOutput, merge
from penstock.frontend.params import parse_params
from penstock.frontend.text.tokenizer import Tokenizer

TEXT = "hello world! the fox STOP more"
LENGTH = Finish(FinishReason.LENGTH)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(fast())


def make(tokenizer, n=1, prompt_ids=(1, 5, 6), **params):
    checked = parse_params(params, n=n)
    specs = [RequestSpec(id=f"r-{i}", prompt_ids=prompt_ids) for i in range(n)]
    return Assembly("r", specs, "prompt", checked, tokenizer)


def ids_of(tokenizer, text=TEXT):
    return tokenizer.encode(text, add_special_tokens=False)


def feed(assembly, ids, step=1, finish=LENGTH, name="r-0"):
    """Push tokens ``step`` at a time; return the deltas and how often a cancel was asked for."""
    deltas, cancels = [], 0
    for start in range(0, len(ids), step):
        last = start + step >= len(ids)
        out = Output(name, tuple(ids[start : start + step]), finish if last else None)
        cancels += assembly.push(out)
        if (delta := assembly.take()) is not None:
            deltas.append(delta)
    return deltas, cancels


def whole(deltas):
    result = RequestOutput(request_id="r", prompt_token_ids=(), outputs=[])
    for delta in deltas:
        merge(result, delta)
    return result


@pytest.mark.parametrize("step", [1, 3, 100])
def test_text_tokens_and_end(tokenizer, step):
    ids = ids_of(tokenizer)
    deltas, cancels = feed(make(tokenizer), ids, step)
    result = whole(deltas)
    assert result.outputs[0].text == TEXT and result.outputs[0].token_ids == ids and cancels == 0
    assert result.outputs[0].finish_reason is FinishReason.LENGTH and result.finished
    assert [d.finished for d in deltas] == [False] * (len(deltas) - 1) + [True]
    assert result.usage.completion_tokens == len(ids) and result.usage.prompt_tokens == 3


@pytest.mark.parametrize("step", [1, 2, 100])
@pytest.mark.parametrize("include", [False, True])
def test_stop_string_cuts_the_text_and_cancels_once(tokenizer, step, include):
    ids = ids_of(tokenizer)
    deltas, cancels = feed(make(tokenizer, stop=["fox STO"], include_stop_str_in_output=include), ids, step)
    out = whole(deltas).outputs[0]
    assert out.text == "hello world! the " + ("fox STO" if include else "")
    assert out.finish_reason is FinishReason.STOP and out.stop_reason == "fox STO"
    assert cancels == (1 if step < 100 else 0), "with the end at hand there is nothing to cancel"
    assert len(out.token_ids) < len(ids) or step == 100
    assert tokenizer.decode(out.token_ids).startswith("hello world! the fox STO")


def test_nothing_of_a_stop_string_leaks_before_it_is_complete(tokenizer):
    deltas, _ = feed(make(tokenizer, stop=["the fox STOP"]), ids_of(tokenizer))
    assert "".join(o.text for d in deltas for o in d.outputs) == "hello world! "
    assert all("the" not in o.text for d in deltas for o in d.outputs)


def test_stop_is_the_end_even_if_the_engine_says_otherwise(tokenizer):
    ids = ids_of(tokenizer)
    aborted = Finish(FinishReason.ERROR, "the engine was killed by SIGKILL")
    deltas, _ = feed(make(tokenizer, stop=["world"]), ids, finish=aborted)
    out = whole(deltas).outputs[0]
    assert (out.finish_reason, out.detail, out.text) == (FinishReason.STOP, "", "hello ")


def test_min_tokens_lets_early_stop_strings_pass(tokenizer):
    ids = ids_of(tokenizer, "STOP a STOP b")
    first = len(ids_of(tokenizer, "STOP"))
    deltas, _ = feed(make(tokenizer, stop=["STOP"], min_tokens=first), ids)
    assert whole(deltas).outputs[0].text == "STOP a "


def test_stop_token_is_hidden_unless_included(tokenizer):
    ids = ids_of(tokenizer)
    finish = Finish(FinishReason.STOP, stop_token=ids[-1])
    tail = tokenizer.decode(ids[-1:])
    for include, text in ((False, TEXT.removesuffix(tail)), (True, TEXT)):
        params = {"stop_token_ids": [ids[-1]], "include_stop_str_in_output": include}
        deltas, _ = feed(make(tokenizer, **params), ids, finish=finish)
        out = whole(deltas).outputs[0]
        assert out.text == text and out.stop_reason == ids[-1] and out.token_ids == ids


def test_eos_is_no_stop_reason(tokenizer):
    finish = Finish(FinishReason.STOP, stop_token=tokenizer.eos_id)
    deltas, _ = feed(make(tokenizer), [*ids_of(tokenizer), tokenizer.eos_id], finish=finish)
    out = whole(deltas).outputs[0]
    assert out.text == TEXT and out.stop_reason is None and out.finish_reason is FinishReason.STOP


def test_a_slow_reader_gets_merged_news(tokenizer):
    assembly = make(tokenizer)
    ids = ids_of(tokenizer)
    for token in ids[:-1]:
        assembly.push(Output("r-0", (token,)))
    delta = assembly.take()
    assert delta.outputs[0].token_ids == ids[:-1] and not delta.finished and assembly.take() is None


def test_completions_end_one_by_one(tokenizer):
    assembly = make(tokenizer, n=3)
    for i in (1, 0):
        assembly.push(Output(f"r-{i}", (5,), LENGTH))
    delta = assembly.take()
    assert [o.index for o in delta.outputs] == [0, 1] and not delta.finished
    assert assembly.live_ids() == ["r-2"]
    assembly.push(Output("r-2", (5, 6), Finish(FinishReason.ABORT, "deadline")))
    delta = assembly.take()
    assert delta.finished and delta.outputs[0].detail == "deadline" and delta.usage.completion_tokens == 4
    assert assembly.take() is None


def test_nothing_counts_after_the_end(tokenizer):
    assembly = make(tokenizer)
    assembly.push(Output("r-0", (5,), LENGTH))
    assert not assembly.push(Output("r-0", (6,), LENGTH))
    assert assembly.take().outputs[0].token_ids == (5,) and assembly.take() is None


def test_logprobs_follow_the_tokens(tokenizer):
    ids = ids_of(tokenizer, "hello world!")
    assembly = make(tokenizer, logprobs=1)
    for i, token in enumerate(ids):
        entry = TokenLogprobs(token, -float(i), 1, ((token, -float(i)),))
        assembly.push(Output("r-0", (token,), LENGTH if i == len(ids) - 1 else None, logprobs=(entry,)))
    out = assembly.take().outputs[0]
    assert [e.token_id for e in out.logprobs] == list(ids)
    assert all(out.text[e.offset :].startswith(e.token) for e in out.logprobs)
    assert out.logprobs[1].top[0].logprob == -1.0


def test_prompt_logprobs_come_once_and_whole(tokenizer):
    assembly = make(tokenizer, prompt_ids=(1, 5, 6, 7), prompt_logprobs=0)
    score = {token: TokenLogprobs(token, -1.0, 1, ()) for token in (5, 6, 7)}
    assembly.push(Output("r-0", prompt_logprobs=(score[5],)))
    assert assembly.take() is None, "part of the prompt is no news"
    assembly.push(Output("r-0", (9,), prompt_logprobs=(score[6], score[7])))
    delta = assembly.take()
    assert [e and e.token_id for e in delta.prompt_logprobs] == [None, 5, 6, 7]
    assembly.push(Output("r-0", (9,), LENGTH))
    assert assembly.take().prompt_logprobs is None


def test_a_failing_tokenizer_ends_that_sequence_alone(tokenizer):
    assembly = make(tokenizer, n=2)
    broken = assembly._completions["r-0"]
    broken._detokenizer = None
    assert assembly.push(Output("r-0", (5,))) is True
    assembly.push(Output("r-1", (5,), LENGTH))
    delta = assembly.take()
    assert delta.outputs[0].finish_reason is FinishReason.ERROR and "text" in delta.outputs[0].detail
    assert delta.outputs[1].finish_reason is FinishReason.LENGTH and delta.finished
    assert not assembly.push(Output("r-0", finish=LENGTH))
