"""The inline executor over a tiny Llama, driven by hand-written plans, against transformers."""

import dataclasses
import math
import random

import pytest
import torch

from penstock.core.errors import ConfigError, StepFault
from penstock.core.executor import Executor
from penstock.core.plan import PlanShape, StepPlan, WorkItem
from penstock.core.request import SamplingParams
from penstock.executors import assemble
from penstock.executors.faults import FailFor
from penstock.executors.inline import InlineExecutor, build_executor
from penstock.kernels.native.library import start_team, why_missing
from penstock.runtime.estimate import check_weights
from penstock.runtime.host import Available
from tests.executors.tiny import CONTEXT, VOCAB, Driver, Text, config_for

WANT = 24
PROMPTS = [
    tuple(random.Random(n).randrange(3, VOCAB) for _ in range(length))
    for n, length in enumerate((1, 5, 8, 9, 23, 40, 64, 100))
]


@pytest.fixture(scope="module")
def greedy(llama):
    """What transformers generates for each prompt."""
    outputs = []
    for prompt in PROMPTS:
        ids = llama[1].generate(
            torch.tensor([prompt]),
            do_sample=False,
            max_new_tokens=min(WANT, CONTEXT - len(prompt)),
            eos_token_id=None,
            pad_token_id=0,
        )
        outputs.append(ids[0, len(prompt) :].tolist())
    assert len({tuple(o[-4:]) for o in outputs}) > 3, "the oracle should not say the same of every prompt"
    return outputs


def executor(llama, fault=None, **config):
    return build_executor(config_for(llama[0], **config), fault=fault)


def deferred(plain, fault=None):
    """The same executor, but landing in `collect`, as on CUDA."""
    runner = plain.runner
    return InlineExecutor(runner.decoder, runner.kv, plain.spec(), defer=True, fault=fault)


def texts(chunk=1000, **sampling):
    sp = SamplingParams(**{"temperature": 0.0, "max_tokens": WANT, **sampling})
    return [
        Text(f"t{n}", prompt, min(WANT, CONTEXT - len(prompt)), sp, chunk=chunk)
        for n, prompt in enumerate(PROMPTS)
    ]


def outputs(run):
    assert [t.error for t in run] == [None] * len(run)
    return [t.output for t in run]


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("depth", [0, 1])
def test_greedy_tokens_equal_transformers(llama, greedy, chunk, depth):
    assert outputs(Driver(executor(llama)).run(texts(chunk), depth)) == greedy


@pytest.mark.parametrize("sampling", [{}, {"repetition_penalty": 1.3, "bad_words": ((5, 6), (9,))}], ids=str)
def test_tokens_carried_on_the_device_change_nothing(llama, sampling):
    """With penalties a launch has to wait for the tokens of the step before."""
    plain = executor(llama)
    want = outputs(Driver(plain).run(texts(**sampling)))
    ex = deferred(plain)
    assert outputs(Driver(ex, seed=1).run(texts(**sampling), depth=1)) == want


def test_mixed_chunk_sizes_in_one_step_equal_transformers(llama, greedy):
    mixed = texts()
    for n, text in enumerate(mixed):
        text.chunk = (1, 2, 1000, 5, 3, 16, 1000, 9)[n]
    assert outputs(Driver(executor(llama)).run(mixed)) == greedy


def test_batch_invariant_sampling_does_not_depend_on_batch_mates_or_chunks(llama):
    ex = executor(llama, model={"batch_invariant": True})
    together = outputs(Driver(ex).run(texts(temperature=1.0, seed=3, top_p=0.95)))
    for n in (1, 4, 7):
        alone = texts(temperature=1.0, seed=3, top_p=0.95, chunk=3)[n]
        assert outputs(Driver(ex, seed=n).run([alone])) == [together[n]]


def test_seeds_and_temperature_matter(llama):
    ex = executor(llama)
    first = outputs(Driver(ex).run(texts(temperature=1.0, seed=1)))
    again = outputs(Driver(ex, seed=9).run(texts(temperature=1.0, seed=1)))
    other = outputs(Driver(ex).run(texts(temperature=1.0, seed=2)))
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("chunk", [4, 1000])
def test_logprobs_and_prompt_logprobs_equal_transformers(llama, chunk):
    run = Driver(executor(llama)).run(texts(chunk, logprobs=3, prompt_logprobs=2))
    outputs(run)
    for text in run:
        ids = torch.tensor([[*text.prompt, *text.output]])
        with torch.no_grad():
            want = torch.log_softmax(llama[1](ids).logits[0].float(), -1)
        split = len(text.prompt)
        assert len(text.prompt_logprobs) == split - 1
        assert len(text.logprobs) == len(text.output)
        for at, score in enumerate([*text.prompt_logprobs, *text.logprobs], start=1):
            row = want[at - 1]
            assert score.token == ids[0, at]
            assert score.logprob == pytest.approx(row[ids[0, at]].item(), abs=1e-3)
            top = row.topk(2 if at < split else 3)
            assert [x for _, x in score.top] == pytest.approx(top.values.tolist(), abs=1e-3)
            assert score.rank >= 1
            assert (score.rank == 1) == (score.top[0][0] == score.token)


def test_token_ids_outside_the_vocabulary_fail_their_sequence_only(llama, greedy):
    run = texts()
    run[3] = dataclasses.replace(run[3], prompt=(4, VOCAB, 5))
    run[6] = dataclasses.replace(run[6], prompt=(4, -7, 5), chunk=2)
    Driver(executor(llama)).run(run)
    assert run[3].error == f"prompt: token id {VOCAB} at position 1 is outside 0..{VOCAB - 1}"
    assert "token id -7" in run[6].error
    assert [t.output for n, t in enumerate(run) if n not in (3, 6)] == [
        g for n, g in enumerate(greedy) if n not in (3, 6)
    ]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("defer", [False, True])
def test_a_sequence_with_non_finite_logits_fails_alone(llama, greedy, depth, defer):
    poison = next(
        v for v in range(3, VOCAB) if all(v not in p for p in PROMPTS) and not any(v in g for g in greedy)
    )
    ex = executor(llama)
    with torch.inference_mode():
        ex.runner.decoder._params.embed[poison] = math.nan
    ex = deferred(ex) if defer else ex
    run = texts()
    run[2] = dataclasses.replace(run[2], prompt=(4, poison, 5, 6))
    run[5] = dataclasses.replace(
        run[5], prompt=(4, poison, 5), chunk=2, sampling=SamplingParams(prompt_logprobs=1)
    )
    Driver(ex).run(run, depth)
    assert run[2].error == run[5].error == "model produced non-finite logits"
    assert [run[n].output for n in (0, 1, 3, 4, 6, 7)] == [greedy[n] for n in (0, 1, 3, 4, 6, 7)]


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("defer", [False, True])
def test_a_step_that_fails_is_retried_without_a_trace(llama, greedy, depth, defer):
    for request, errors in (("t4", 1), ("nobody", 0)):
        fault = FailFor(request)
        ex = executor(llama, fault=fault)
        ex = deferred(ex, fault) if defer else ex
        run = Driver(ex).retry_alone(texts(7), depth)
        assert fault.raised >= 2 * errors
        for n, text in enumerate(run):
            if text.name == request:
                assert "RuntimeError: poisoned" in text.error
            else:
                assert text.output == greedy[n]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "frequency_penalty": 0.7, "seed": 5}], ids=str)
@pytest.mark.parametrize("when", ["attention", "logits"])
def test_a_step_that_fails_in_the_middle_can_be_run_again(llama, monkeypatch, sampling, when):
    """Faults strike after keys and values were written; running the work again gives the same."""
    ex = executor(llama)
    want = outputs(Driver(ex).run(texts(7, **sampling)))
    decoder = ex.runner.decoder
    name = {"attention": "forward", "logits": "logits"}[when]
    real, calls = getattr(decoder, name), []

    def flaky(*args):
        out = real(*args)
        if len(getattr(args[0], "q_lens", args[0])) > 1:  # more than one sequence: a retry alone succeeds
            calls.append(1)
        if len(calls) % 3 == 2:
            calls.append(1)
            raise RuntimeError("a flaky device")
        return out

    if name == "forward":
        ex.runner.forward = flaky
    else:
        monkeypatch.setattr(decoder, name, flaky)
    run = Driver(ex, seed=3).retry_alone(texts(7, **sampling))
    assert outputs(run) == want
    assert len(calls) > 10


def test_slots_of_a_failed_step_must_be_described_anew(llama):
    ex = executor(llama, fault=FailFor("a", times=1))
    driver = Driver(ex)
    text = Text("a", (5, 6, 7), 3, slot=0, target=3)
    with pytest.raises(StepFault, match="poisoned"):
        driver.collect(driver.submit([text]))
    with pytest.raises(StepFault, match="slot 0 holds no sequence"):
        driver.collect(driver.submit([text]))
    text.describe_anew()
    driver.collect(driver.submit([text]))
    assert len(text.output) == 1


def test_a_freed_slot_can_be_taken_in_the_same_plan(llama, greedy):
    ex = executor(llama)
    driver = Driver(ex)
    first, second = texts()[2], texts()[4]
    for text in (first, second):
        text.slot, text.target = 0, len(text.prompt)
    driver.collect(driver.submit([first]))
    flying = driver.submit([second], frees=[0])
    while True:
        driver.collect(flying)
        if second.done:
            break
        flying = driver.submit([second])
    assert second.output == greedy[4]


def test_results_behind_a_failed_step_need_not_be_collected(llama):
    ex = executor(llama)
    driver = Driver(ex)
    text = Text("a", (5, 6, 7), 9, slot=0, target=3)
    driver.submit([text])
    flying = driver.submit([text])
    driver.collect(flying)
    with pytest.raises(ValueError, match="not in flight"):
        ex.collect(1)


def test_an_empty_plan_and_an_unknown_slot(llama):
    ex = executor(llama)
    shape = PlanShape(0, 0, 0, 0, 0, 0, 0)
    ex.submit(StepPlan(1, (), (), (3,), shape))
    assert ex.collect(1).items == ()
    ex.submit(StepPlan(2, (), (WorkItem(77, 0, 1, 0, (), False),), (), shape))
    with pytest.raises(StepFault):
        ex.collect(2)


def test_spec_and_close(llama):
    ex = executor(llama, max_num_seqs=3, pipeline_depth=1)
    spec = ex.spec()
    assert (spec.slots, spec.page_size, spec.max_model_len, spec.vocab_size) == (3, 8, CONTEXT, VOCAB)
    assert (spec.pipeline_depth, spec.blocks) == (1, 3 * CONTEXT // 8)
    assert isinstance(ex.spec().cache_fingerprint, str)
    _: Executor = ex
    ex.close()
    ex.close()
    with pytest.raises(StepFault, match="closed"):
        ex.submit(StepPlan(1, (), (), (), PlanShape(0, 0, 0, 0, 0, 0, 0)))


def test_fingerprint_follows_what_makes_keys_and_values_differ(llama, tmp_path):
    def of(**given):
        return executor(llama, **given).spec().cache_fingerprint

    base = of()
    assert base == of(max_num_seqs=2)
    others = [of(cache={"kv_cache_dtype": "int8"}), of(model={"dtype": "bfloat16"})]
    others += [of(model={"load_format": "dummy", "seed": seed}) for seed in (1, 2)]
    assert len({base, *others}) == 5


def test_kv_budget_too_small_is_refused_with_the_number_that_would_do(llama):
    with pytest.raises(ConfigError) as caught:
        executor(llama, cache={"kv_cache_memory_bytes": 1000})
    assert caught.value.field == "cache.kv_cache_memory_bytes"
    need = int(caught.value.message.split("at least ")[1].split()[0])
    ex = executor(llama, cache={"kv_cache_memory_bytes": need}, max_num_seqs=1)
    assert ex.spec().blocks * ex.spec().page_size >= CONTEXT
    run = Driver(ex).run(texts()[7:])
    assert len(outputs(run)[0]) == WANT
    with pytest.raises(ConfigError):
        executor(llama, cache={"kv_cache_memory_bytes": need - 1})


def test_decisions_and_memory_are_there_to_be_printed(llama):
    ex = executor(llama)
    names = {d.name for d in ex.decisions}
    assert {"model.max_model_len", "schedule.pipeline_depth", "threads", "model.attention"} <= names
    assert all(d.value and d.why for d in ex.decisions)
    assert ex.config.model.max_model_len == CONTEXT
    assert ex.config.cache.kv_cache_memory_bytes == ex.memory.kv == ex.runner.kv.nbytes()


def test_weights_that_do_not_fit_are_refused_before_loading(llama, monkeypatch):
    ex = executor(llama)
    fitting = Available(ex.runner.decoder.weight_bytes(), "a test")
    check_weights(ex.runner.decoder.spec, torch.float32, fitting)
    monkeypatch.setattr(assemble, "available_memory", lambda device: Available(10_000, "a test"))
    monkeypatch.setattr(assemble, "load_model", lambda *a, **k: pytest.fail("loaded"))
    with pytest.raises(ConfigError, match=r"model\.model: the weights need .* as float32, but only 9\.8 KiB"):
        executor(llama)


def test_torch_gives_its_threads_to_native_attention(llama, monkeypatch):
    """Torch keeps them where it still attends."""
    if reason := why_missing():
        pytest.skip(reason)
    monkeypatch.setattr(assemble, "thread_count", lambda *facts: (2, "for the test"))
    try:
        for attention, threads in (("native", 1), ("auto", 1), ("torch", 2)):
            model = {"kernels": "native", "attention": attention}
            assemble.assemble(config_for(llama[0], model=model))
            assert torch.get_num_threads() == threads
    finally:
        start_team(1)
        torch.set_num_threads(1)


def test_packed_weights_are_kept_in_the_folder_that_is_named(llama, tmp_path, caplog):
    if reason := why_missing():
        pytest.skip(reason)
    caplog.set_level("INFO")
    folder, runs = tmp_path / "kept", []
    for kept in ("off", str(folder), str(folder)):
        run = Driver(executor(llama, model={"packed_cache": kept})).run(texts()[:3])
        runs.append(outputs(run))
    assert runs[0] == runs[1] == runs[2]
    told = [line for line in caplog.messages if line.startswith("packed weights")]
    assert [line.split(str(folder))[0] for line in told] == [
        "packed weights written to ",
        "packed weights read from ",
    ]
    assert len(list(folder.glob("*.packed"))) == 1
    bounded = {"packed_cache": str(tmp_path / "small"), "packed_cache_bytes": 1000}
    assert outputs(Driver(executor(llama, model=bounded)).run(texts()[:3])) == runs[0]
    assert not list((tmp_path / "small").glob("*.packed"))
