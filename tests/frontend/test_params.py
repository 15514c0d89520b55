import math

import pytest
from tokenizers_for_tests import fast

from penstock.core.errors import InvalidRequest
from penstock.core.request import SLO, SamplingParams
from penstock.frontend.params import GenerationParams, parse_params
from penstock.frontend.prompts import RequestOptions
from penstock.frontend.specs import ModelLimits, SeedSource, build_specs, derive_seed, fit_prompt
from penstock.frontend.text.tokenizer import Tokenizer

LIMITS = ModelLimits(vocab_size=380, max_model_len=100, eos_ids=(2,))
GIVEN = object()


def specs(params=None, prompt=(1, 2, 3), options=None, seed=7, chat=False, **more):
    checked = parse_params(params, **more)
    ids = fit_prompt(prompt, checked, LIMITS)
    return build_specs(
        "r",
        ids,
        checked,
        limits=LIMITS,
        tokenizer=Tokenizer(fast()),
        options=options or RequestOptions(),
        seed=seed,
        chat=chat,
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 10**400),
        ("temperature", "0.5"),
        ("temperature", True),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_p", math.nan),
        ("top_k", -2),
        ("top_k", 1.5),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("presence_penalty", 2.1),
        ("frequency_penalty", -2.1),
        ("repetition_penalty", 0),
        ("repetition_penalty", 5e-324),
        ("repetition_penalty", math.inf),
        ("max_tokens", 0),
        ("max_tokens", "16"),
        ("max_tokens", 1.0),
        ("max_tokens", True),
        ("min_tokens", -1),
        ("seed", -1),
        ("seed", 2**63),
        ("n", 0),
        ("n", 129),
        ("logprobs", -1),
        ("logprobs", 21),
        ("logprobs", True),
        ("prompt_logprobs", 21),
        ("ignore_eos", 1),
        ("skip_special_tokens", "yes"),
        ("stop_token_ids", 5),
        ("stop", 5),
        ("allowed_token_ids", []),
        ("logit_bias", [1]),
        ("truncate_prompt_tokens", 0),
    ],
)
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(InvalidRequest) as caught:
        parse_params({field: value})
    assert caught.value.field == field
    assert "expected" in caught.value.message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a"] * 65}, "stop"),
        ({"stop_token_ids": [1, -1]}, "stop_token_ids[1]"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"5": 101}}, "logit_bias[5]"),
        ({"logit_bias": {5: math.nan}}, "logit_bias[5]"),
        ({"bad_words": [[]]}, "bad_words[0]"),
        ({"min_tokens": 5, "max_tokens": 4}, "min_tokens"),
        ({"temprature": 1}, "temprature"),
    ],
)
def test_nested_nonsense_is_refused_by_name(given, field):
    with pytest.raises(InvalidRequest) as caught:
        parse_params(given)
    assert caught.value.field == field


def test_a_misspelt_name_gets_a_hint():
    with pytest.raises(InvalidRequest, match="did you mean 'temperature'"):
        parse_params({"temprature": 1})


def test_not_a_mapping():
    with pytest.raises(InvalidRequest, match="params: expected a mapping"):
        parse_params([1])


def test_direct_construction_is_checked_too():
    with pytest.raises(InvalidRequest, match="top_p"):
        GenerationParams(top_p=7)
    assert GenerationParams(stop="x").stop == ("x",)


def test_accepted_spellings():
    params = parse_params(
        {"top_k": -1, "stop": "END", "logit_bias": {"5": 1}, "temperature": 1e-9, "seed": None, "top_p": None}
    )
    assert params.top_k == 0 and params.stop == ("END",) and params.logit_bias == {5: 1.0}
    assert params.temperature == 0.0 and params.seed is None and params.top_p == 1.0
    assert parse_params(SamplingParams(temperature=0.0, seed=3), n=2).seed == 3


def test_every_core_sampling_parameter_has_a_rule_and_arrives():
    given = {
        "max_tokens": 9,
        "min_tokens": 2,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.5,
        "min_p": 0.1,
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "repetition_penalty": 1.5,
        "logit_bias": {4: -1},
        "allowed_token_ids": [5, 6],
        "bad_words": [[5, 6]],
        "stop_token_ids": [7],
        "ignore_eos": True,
        "seed": 11,
        "logprobs": 2,
        "prompt_logprobs": 1,
        "pooling": "mean",
    }
    assert set(given) == set(SamplingParams.__struct_fields__)
    (one,) = specs(given)
    for name, value in given.items():
        got = getattr(one.sampling, name)
        want = ((5, 6),) if name == "bad_words" else tuple(value) if isinstance(value, list) else value
        assert got == want, name
    assert one.id == "r" and one.eos_ids == (2,) and one.prompt_ids == (1, 2, 3)


def test_default_max_tokens():
    assert specs()[0].sampling.max_tokens == 16
    assert specs(chat=True)[0].sampling.max_tokens == 97
    assert specs(prompt=range(95))[0].sampling.max_tokens == 5


@pytest.mark.parametrize(
    ("given", "prompt", "field", "number"),
    [
        ({"max_tokens": 98}, (1, 2, 3), "max_tokens", "97"),
        ({}, range(100), "prompt", "99"),
        ({}, (), "prompt", "at least one"),
        ({}, (1, 380), "prompt[1]", "379"),
        ({}, (1, -1), "prompt[1]", "379"),
        ({}, (1, True), "prompt[1]", "True"),
        ({"min_tokens": 17}, (1,), "min_tokens", "16"),
        ({"stop_token_ids": [380]}, (1,), "stop_token_ids", "380"),
        ({"logit_bias": {"400": 1}}, (1,), "logit_bias", "380"),
        ({"allowed_token_ids": [1, 999]}, (1,), "allowed_token_ids", "999"),
        ({"bad_words": ["ok", [999]]}, (1,), "bad_words[1]", "999"),
        ({"bad_words": ["ok", " "]}, (1,), "bad_words[1]", "word"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_by_name(given, prompt, field, number):
    with pytest.raises(InvalidRequest) as caught:
        specs(given, prompt)
    assert caught.value.field == field and number in caught.value.message


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (RequestOptions(weight=0), "weight"),
        (RequestOptions(weight=math.inf), "weight"),
        (RequestOptions(weight=math.nan), "weight"),
        (RequestOptions(priority=1.5), "priority"),
        (RequestOptions(adapter="lora"), "adapter"),
        (RequestOptions(slo=SLO(ttft=-1)), "slo.ttft"),
    ],
)
def test_bad_options_are_refused_by_name(options, field):
    with pytest.raises(InvalidRequest) as caught:
        specs(options=options)
    assert caught.value.field == field


def test_n_fans_out_with_seeds_of_their_own():
    many = specs(n=4, seed=5, prompt_logprobs=1)
    assert [s.id for s in many] == ["r-0", "r-1", "r-2", "r-3"]
    assert [s.sampling.seed for s in many] == [derive_seed(5, i) for i in range(4)]
    assert many[0].sampling.seed == 5 and len({s.sampling.seed for s in many}) == 4
    assert [s.sampling.prompt_logprobs for s in many] == [1, None, None, None]
    assert all(0 <= derive_seed(2**63 - 1, i) < 2**63 for i in range(100))
    assert derive_seed(5, 1) != derive_seed(6, 0), "neighbouring seeds must not share completions"


def test_a_request_without_seed_gets_the_drawn_one():
    assert specs(seed=99)[0].sampling.seed == 99
    a, b = SeedSource(0), SeedSource(0)
    drawn = [a.draw() for _ in range(3)]
    assert drawn == [b.draw() for _ in range(3)] and len(set(drawn)) == 3


def test_truncation_keeps_the_end_of_the_prompt():
    assert specs({"truncate_prompt_tokens": 2}, range(200))[0].prompt_ids == (198, 199)


def test_bad_words_become_token_sequences():
    (one,) = specs({"bad_words": ["hello", [5, 6]]})
    texts = [Tokenizer(fast()).decode(ids) for ids in one.sampling.bad_words]
    assert texts[:2] == ["hello", " hello"] and one.sampling.bad_words[2] == (5, 6)
