"""Structured output through the whole engine, on a tiny random model: answers belong to their grammars."""

import json

import jsonschema
import msgspec
import pytest

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.output import FinishReason
from penstock.core.request import GrammarSpec, RequestSpec, SamplingParams
from penstock.engine.core import build_engine
from penstock.executors.inline import InlineExecutor
from penstock.models.load import load_model
from penstock.testing.schemas import FORMATS, SchemaGenerator
from tests.runtime.grammar.local import EOS, LONGER, PADDED, LocalGrammars, byte_vocabulary

VOCABULARY = byte_vocabulary()
CONTEXT, PAGE = 1024, 16
FORMAT_CHECKER = jsonschema.FormatChecker(formats=())
for _name, _shape in FORMATS.items():
    FORMAT_CHECKER.checks(_name)(
        lambda value, shape=_shape: not isinstance(value, str) or bool(shape.fullmatch(value))
    )


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": PADDED,
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-5,
        "bos_token_id": 0, "eos_token_id": EOS, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return load_model(
        str(folder), device="cpu", dtype="float32", load_format="dummy", seed=3, batch_invariant=True
    )


@pytest.fixture(scope="module")
def grammars():
    return LocalGrammars(VOCABULARY)


def engine(decoder, grammars, *, blocks=400, slots=8, depth=0, defer=False, fault=None, **schedule):
    spec = ExecutorSpec(
        slots=slots,
        blocks=blocks,
        page_size=PAGE,
        max_model_len=CONTEXT,
        vocab_size=PADDED,
        pipeline_depth=depth,
    )
    executor = InlineExecutor(
        decoder, decoder.new_kv(blocks, PAGE), spec, grammars=grammars, defer=defer, fault=fault
    )
    return build_engine(executor, ScheduleConfig(max_num_seqs=slots, **schedule), CacheConfig())


def request(name, grammar, seed=0, max_tokens=280, prompt=(1, 2, 3), **sampling):
    params = SamplingParams(max_tokens=max_tokens, temperature=1.0, seed=seed, **sampling)
    return RequestSpec(id=name, prompt_ids=prompt, sampling=params, eos_ids=(EOS,), grammar=grammar)


def run(core, requests):
    """Return {id: (tokens, finish)}."""
    tokens, ends = {one.id: [] for one in requests}, {}
    for one in requests:
        core.submit(one)
    for _ in range(20_000):
        for output in core.tick():
            tokens[output.request_id] += output.tokens
            if output.finish is not None:
                assert output.request_id not in ends
                ends[output.request_id] = output.finish
        if not core.has_work():
            break
    assert core.grammars._held == {}, "nothing is held on to for requests that have ended"
    return {name: (tuple(tokens[name]), ends[name]) for name in tokens}


def text_of(tokens):
    return b"".join(VOCABULARY.tokens[i] for i in tokens)


def bound(schema):
    return GrammarSpec(kind="json_schema", text=json.dumps(schema))


def schemas(count, seed=0):
    generator = SchemaGenerator(seed, depth=1)
    return [generator.schema() for _ in range(count)]


def asked(count, **more):
    return [request(f"r{i}", bound(one), seed=i, **more) for i, one in enumerate(schemas(count))]


@pytest.fixture(scope="module")
def plain(decoder, grammars):
    return run(engine(decoder, grammars), asked(16))


def test_every_finished_answer_validates(plain):
    finished = 0
    for i, schema in enumerate(schemas(16)):
        tokens, finish = plain[f"r{i}"]
        if finish.reason is FinishReason.STOP:
            assert tokens[-1] == EOS == finish.stop_token
            value = json.loads(text_of(tokens))
            jsonschema.Draft202012Validator(schema, format_checker=FORMAT_CHECKER).validate(value)
            finished += 1
        else:
            assert finish.reason is FinishReason.LENGTH
            assert len(tokens) == 280
    assert finished >= 12


def test_an_answer_cut_off_is_reported_as_such(decoder, grammars, plain):
    for name, (tokens, finish) in run(engine(decoder, grammars), asked(4, max_tokens=3)).items():
        assert finish.reason is FinishReason.LENGTH
        assert tokens == plain[name][0][:3]


def test_answers_do_not_depend_on_how_they_are_run(decoder, grammars, plain):
    """Overlapped, one at a time, beside free sequences."""
    few = asked(4)
    overlapped = run(engine(decoder, grammars, depth=1, defer=True), few)
    alone = run(engine(decoder, grammars, slots=1), few[:2])
    free = [request(f"free{i}", None, seed=i, max_tokens=40) for i in range(3)]
    mixed = run(engine(decoder, grammars), [*few, *free])
    for other in (overlapped, alone, mixed):
        bound_ones = {name: tokens for name, (tokens, _) in other.items() if name.startswith("r")}
        assert bound_ones == {name: plain[name][0] for name in bound_ones}


def test_a_preempted_answer_goes_on_where_it_was(decoder, grammars):
    of = GrammarSpec(kind="regex", text="([c-f]{3}-){15}[0-9]")
    few = [request(f"r{i}", of, seed=i, max_tokens=70) for i in range(3)]
    roomy, tight = engine(decoder, grammars), engine(decoder, grammars, blocks=9)
    assert {n: t for n, (t, _) in run(roomy, few).items()} == {n: t for n, (t, _) in run(tight, few).items()}
    assert tight.stats().preemptions > 0


def test_a_step_that_fails_is_done_again(decoder, grammars, plain):
    failed = set()

    def fault(plan):
        if plan.ticket in (3, 30) and plan.ticket not in failed:
            failed.add(plan.ticket)
            raise RuntimeError("injected")

    few = asked(5)
    found = run(engine(decoder, grammars, fault=fault, depth=1, defer=True), few)
    assert {name: tokens for name, (tokens, _) in found.items()} == {one.id: plain[one.id][0] for one in few}
    assert failed == {3, 30}


def test_completions_of_one_prompt_share_a_grammar(decoder, grammars):
    of = GrammarSpec(kind="regex", text="[ab]{3}-[0-9]")
    found = run(engine(decoder, grammars), [request(f"r-{i}", of, seed=i) for i in range(6)])
    texts = {text_of(tokens) for tokens, _ in found.values()}
    assert len(texts) > 1
    assert all(len(one) == 5 and one[3:4] == b"-" for one in texts)


@pytest.mark.parametrize("sampling", [{}, {"ignore_eos": True}, {"min_tokens": 5}])
def test_a_grammar_that_can_only_end_ends_with_stop(decoder, grammars, sampling):
    of = GrammarSpec(kind="choice", text='["ab"]')
    tokens, finish = run(engine(decoder, grammars), [request("r", of, max_tokens=50, **sampling)])["r"]
    assert text_of(tokens) == b"ab"
    assert finish.reason is FinishReason.STOP
    assert finish.stop_token == EOS


def test_a_model_without_a_stop_id_ends_too(decoder):
    source = LocalGrammars(byte_vocabulary(stop_ids=()))
    one = msgspec.structs.replace(request("r", GrammarSpec(kind="regex", text="ab")), eos_ids=())
    tokens, finish = run(engine(decoder, source), [one])["r"]
    assert text_of(tokens) == b"ab"
    assert (finish.reason, finish.stop_token) == (FinishReason.STOP, None)


def test_a_stop_id_of_the_callers_ends_in_the_midst(decoder, grammars):
    of = GrammarSpec(kind="regex", text="a{30}")
    tokens, finish = run(
        engine(decoder, grammars), [request("r", of, stop_token_ids=(ord("a"),), min_tokens=3)]
    )["r"]
    assert finish.reason is FinishReason.ERROR, "before min_tokens it is masked, and nothing else is allowed"
    tokens, finish = run(engine(decoder, grammars), [request("r", of, stop_token_ids=(ord("a"),))])["r"]
    assert (text_of(tokens), finish.reason) == (b"a", FinishReason.STOP)


def test_a_grammar_after_a_text(decoder, grammars):
    close = 257 + LONGER.index(b"</think>")
    of = GrammarSpec(kind="choice", text='["yes", "no"]', after="</think>")
    one = request("r", of, logit_bias={close: 3.0}, max_tokens=400)
    tokens, finish = run(engine(decoder, grammars), [one])["r"]
    thought, mark, answer = text_of(tokens).partition(b"</think>")
    assert mark
    assert thought
    assert answer in (b"yes", b"no")
    assert finish.reason is FinishReason.STOP


def test_penalties_and_logprobs_go_with_it(decoder, grammars):
    of = GrammarSpec(kind="regex", text="[a-d]{12}")
    one = request("r", of, frequency_penalty=2.0, logprobs=3)
    core = engine(decoder, grammars, depth=1, defer=True)
    core.submit(one)
    scores = []
    while core.has_work():
        for output in core.tick():
            scores += output.logprobs or ()
    assert 7 <= len(scores) <= 13
    assert all({i for i, _ in score.top} <= {*b"abcd"} | {257 + LONGER.index(b"ab")} for score in scores[:-1])
    assert (scores[-1].token, scores[-1].logprob) == (EOS, 0.0)
