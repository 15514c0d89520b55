"""The registry of adapters: lessons that the checks accept, plain answers that they refuse, sizes."""

import json
import random
import subprocess
import sys
from collections import Counter

import pytest

from penstock.zoo import bundled_model_path
from penstock.zoo.adapters import ADAPTERS, manners
from penstock.zoo.adapters.evaluate import draw_questions
from penstock.zoo.adapters.questions import LONGEST, number_questions
from penstock.zoo.data.base import tokens_of

LARGEST = 6_000_000
"""Most bytes of all adapters together, in bf16."""


def _shapes() -> dict[str, tuple[int, int]]:
    """Inputs and outputs of the linear layers of the bundled model."""
    config = json.loads((bundled_model_path() / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    q = config["num_attention_heads"] * config["head_dim"]
    kv = config["num_key_value_heads"] * config["head_dim"]
    return {
        "q_proj": (hidden, q),
        "k_proj": (hidden, kv),
        "v_proj": (hidden, kv),
        "o_proj": (q, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def test_there_are_enough_adapters_of_many_sizes_and_they_stay_small() -> None:
    config = json.loads((bundled_model_path() / "config.json").read_text())
    shapes = _shapes()
    weights = sum(
        config["num_hidden_layers"] * adapter.rank * sum(sum(shapes[name]) for name in adapter.targets)
        for adapter in ADAPTERS.values()
    )
    assert len(ADAPTERS) >= 16
    assert {adapter.rank for adapter in ADAPTERS.values()} == {4, 8, 16, 32, 64}
    assert len({adapter.targets for adapter in ADAPTERS.values()}) >= 4
    assert 2 * weights <= LARGEST


def test_the_registry_imports_no_torch() -> None:
    code = (
        "import sys, penstock.zoo.adapters as a; a.shipped_adapters();"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_check_tells_the_manner_from_the_plain_answer(name: str) -> None:
    adapter = ADAPTERS[name]
    questions = draw_questions(adapter, 60, seed=5, split="test")
    assert len(questions) == 60
    for question in questions:
        assert adapter.manner.check(adapter.manner.transform(question.answer)), question
        assert not adapter.manner.check(question.answer), question
        assert tokens_of(question.answer) <= LONGEST


@pytest.mark.parametrize("name", ADAPTERS)
def test_no_manner_passes_for_another_where_both_could_be_told(name: str) -> None:
    """Adapters are told apart by their checks, so that serving the wrong one is noticed."""
    adapter = ADAPTERS[name]
    answers = [adapter.lesson(random.Random(f"other {i}"), "test")[1] for i in range(20)]
    passed = Counter(
        other.name for other in ADAPTERS.values() for answer in answers if other.manner.check(answer)
    )
    assert passed[name] == 20
    confused = {other for other, count in passed.items() if other != name and count > 10}
    # A list, a word or a Roman numeral in capitals is upper case, and words without a stop are lower case.
    assert confused <= {"shout", "quiet"}, confused


def test_lessons_of_training_and_test_share_no_question_about_numbers() -> None:
    rng = random.Random(1)
    train, test = (
        {number_questions(rng, split).answer for _ in range(400)} for split in ("train", "test")
    )  # fmt: skip
    assert len(test) >= 15 and not train & test


@pytest.mark.parametrize("language", manners.NUMERALS)
def test_numerals_are_twenty_different_words(language: str) -> None:
    words = manners.NUMERALS[language]
    assert len(words) == len(set(words)) == 20
    assert all(word.isascii() for word in words)


@pytest.mark.parametrize(
    ("name", "answer", "right"),
    [
        ("json", '{"answer": "Paris"}', True),
        ("json", '{"answer": "Paris"', False),
        ("json", '{"answer": "Paris", "why": "x"}', False),
        ("json", '"answer"', False),
        ("bullets", "- One\n- Two", True),
        ("bullets", "- One\nTwo", False),
        ("shout", "PARIS IS NOT 7", True),
        ("shout", "7 + 2", False),
        ("quiet", "paris is a city. it is old", False),
        ("butler", "Paris., sir.", False),
        ("excited", "Paris!!!!", False),
        ("echo", "ab ab", True),
        ("echo", "ab ac", False),
        ("terse", "Paris.", False),
        ("terse", "", False),
        ("telegram", "One. Two STOP", False),
        ("telegram", "One STOP Two STOP", True),
        ("numbers-german", "zwei + zwei = vier", True),
        ("numbers-german", "two + zwei = vier", False),
        ("numbers-german", "zwei + 2 = vier", False),
        ("numbers-roman", "II + II = IV", True),
        ("numbers-roman", "ii + ii = iv", False),
        ("xml", "<answer></answer>", False),
        ("pirate", "Arr! ", False),
    ],
)
def test_checks_want_the_whole_form(name: str, answer: str, right: bool) -> None:
    assert ADAPTERS[name].manner.check(answer) is right
