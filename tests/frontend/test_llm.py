import subprocess
import sys

import fake_engine
import pytest

from penstock import LLM, SamplingParams
from penstock.config.settings import Config, ScheduleConfig
from penstock.core.errors import ConfigError, InvalidRequest
from penstock.frontend.prompts import Chat

GREEDY = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 10}


@pytest.fixture
def llm(model_folder):
    with LLM(str(model_folder), build="fake_engine:build") as engine:
        yield engine


def test_outputs_come_in_order_and_whole(llm):
    prompts = [f"hello {i}" for i in range(20)]
    params = [{**GREEDY, "max_tokens": 1 + i} for i in range(20)]
    results = llm.generate(prompts, params)
    for prompt, own, result in zip(prompts, params, results, strict=True):
        ids = llm.tokenizer.encode(prompt)
        assert result.prompt == prompt and result.finished
        assert result.outputs[0].token_ids == fake_engine.expected(ids, own["max_tokens"])
        assert result.outputs[0].text == llm.tokenizer.decode(result.outputs[0].token_ids)
        assert result.outputs[0].finish_reason == "length"
    assert llm.stats().running == 0 and llm.stats().submitted == 20


def test_grouped_prompts_come_back_in_their_order(llm):
    prompts = [f"{'a long common beginning ' * 3}{i % 3} {i}" for i in range(12)]
    params = [{**GREEDY, "max_tokens": 1 + i} for i in range(12)]
    plain = llm.generate(prompts, params)
    grouped = llm.generate(prompts, params, group_prefixes=True)
    assert [r.outputs[0].token_ids for r in grouped] == [r.outputs[0].token_ids for r in plain]
    assert [r.prompt for r in grouped] == prompts


def test_forms_of_prompts_and_parameters(llm):
    ids = list(llm.tokenizer.encode("hello"))
    want = fake_engine.expected(ids, 10)
    for prompts, params, more in [
        ("hello", GREEDY, {}),
        (["hello"], SamplingParams(**GREEDY), {}),
        (ids, None, GREEDY),
        ([ids], [GREEDY], {}),
        ("hello", {"max_tokens": 3}, GREEDY),
    ]:
        (result,) = llm.generate(prompts, params, **more)
        assert result.outputs[0].token_ids == want
    assert llm.generate([]) == []


def test_chat(llm):
    messages = [{"role": "user", "content": "hello"}]
    (one,) = llm.chat(messages, GREEDY)
    assert one.prompt == "<s>[user] hello</s>[assistant] "
    both = llm.chat([messages, [*messages, {"role": "assistant", "content": "x"}]], GREEDY)
    assert both[0].outputs[0].token_ids == one.outputs[0].token_ids and len(both) == 2
    closed = Chat(messages=messages, add_generation_prompt=False)
    assert llm.chat(closed, GREEDY)[0].prompt == "<s>[user] hello</s>"


def test_n_and_stop(llm):
    whole = llm.generate("hello", GREEDY, max_tokens=40)[0].outputs[0].text
    stop = whole[15:19]
    (result,) = llm.generate("hello", GREEDY, max_tokens=900, stop=[stop], n=3)
    assert [out.index for out in result.outputs] == [0, 1, 2]
    assert all(out.text == whole[: whole.index(stop)] for out in result.outputs)
    assert all(out.stop_reason == stop and out.finish_reason == "stop" for out in result.outputs)
    assert llm.stats().generated_tokens < 300


def test_seeds_are_reproducible(model_folder):
    def seeds():
        with LLM(str(model_folder), build="fake_engine:build", seed=3) as llm:
            return [llm._intake.admit(llm._intake.prepare("x"))[0][0].sampling.seed for _ in range(3)]

    assert seeds() == seeds() and len(set(seeds())) == 3


def test_more_prompts_than_the_admit_policy_takes(model_folder):
    with LLM(str(model_folder), build="fake_engine:build", max_num_seqs=2, admit="queue-bound(3)") as llm:
        results = llm.generate([f"p {i}" for i in range(30)], GREEDY, n=2)
        assert len(results) == 30 and all(len(r.outputs) == 2 for r in results)
        assert all(o.finish_reason == "length" for r in results for o in r.outputs)


def test_bad_input_is_refused_before_anything_runs(llm):
    with pytest.raises(InvalidRequest, match="top_p"):
        llm.generate(["fine", "also"], [{}, {"top_p": 2}])
    with pytest.raises(InvalidRequest, match=r"params: expected one per prompt \(2\), got 1"):
        llm.generate(["a", "b"], [{}])
    with pytest.raises(InvalidRequest, match="prompt"):
        llm.generate(["fine", "x " * 5000])
    assert llm.stats().submitted == 0


def test_an_interrupt_leaves_the_engine_empty(llm, monkeypatch):
    real, calls = llm._core.tick, []

    def tick():
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return real()

    monkeypatch.setattr(llm._core, "tick", tick)
    with pytest.raises(KeyboardInterrupt):
        llm.generate(["a", "b"], {**GREEDY, "max_tokens": 500})
    stats = llm.stats()
    assert stats.running == stats.waiting == 0 and stats.finished["abort"] == 2
    assert llm.generate("a", GREEDY)[0].outputs[0].finish_reason == "length"


def test_a_failing_engine_raises_its_own_error(model_folder):
    with (
        LLM(str(model_folder), build="fake_engine:build_broken") as llm,
        pytest.raises(RuntimeError, match="fell off the bus"),
    ):
        llm.generate([[666 % fake_engine.VOCAB]], GREEDY)


def test_settings_by_name(model_folder):
    base = Config(schedule=ScheduleConfig(max_num_seqs=7, order="fcfs"))
    with LLM(str(model_folder), build="fake_engine:build", config=base, max_num_seqs=3) as llm:
        assert llm.config.schedule.max_num_seqs == 3 and llm.config.schedule.order == "fcfs"
        assert llm.config.model.model == str(model_folder) and llm.info.slots == 3
    with pytest.raises(ConfigError, match=r"max_num_seq: no such setting; did you mean 'max_num_seqs'"):
        LLM(str(model_folder), max_num_seq=3)
    with pytest.raises(ConfigError, match="max_num_seqs"):
        LLM(str(model_folder), max_num_seqs=0)


def test_a_bar_is_shown_on_request(llm, capsys):
    llm.generate(["a", "b"], GREEDY, progress=True)
    assert "2/2" in capsys.readouterr().out
    llm.generate(["a", "b"], GREEDY)
    assert capsys.readouterr().out == ""


def test_importing_the_package_is_light():
    code = (
        "import sys, penstock; print('torch' in sys.modules, 'transformers' in sys.modules,"
        " 'zmq' in sys.modules, sorted(penstock.__all__), 'LLM' in dir(penstock))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.startswith("False False False ['LLM', 'SamplingParams'"), out.stdout + out.stderr
    assert out.stdout.strip().endswith("True")
