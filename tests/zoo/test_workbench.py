"""Work on a given text or with tools: references do what is asked, and nothing else passes."""

import json
import random
import re
from collections.abc import Iterator

import jsonschema
import pytest

from penstock.zoo.data import SKILLS, Turn, draw
from penstock.zoo.data.base import split_of, tokens_of_turns
from penstock.zoo.data.copying import LOOSE, sentence
from penstock.zoo.data.extraction import DOMAINS, fields, valid
from penstock.zoo.data.toolform import call_text, calls_of
from penstock.zoo.data.words import NUMBER_WORDS

NAMES = ("copying", "spelling", "editing", "json", "tools")


def _turns(name: str, count: int = 300) -> Iterator[Turn]:
    rng = random.Random(f"test:{name}")
    for _ in range(count):
        yield from draw(SKILLS[name], rng, "train")


@pytest.mark.parametrize("name", NAMES)
def test_checkers_accept_references_and_refuse_them_with_a_word_less_or_changed(name: str) -> None:
    for turn in _turns(name):
        check = SKILLS[name].check
        assert check(turn, turn.answer)
        assert check(turn, f" {turn.answer}\n")
        assert not check(turn, "")
        if name not in ("copying", "spelling", "editing"):
            continue
        assert not check(turn, turn.answer + " more") and not check(turn, turn.answer[:-1])


@pytest.mark.parametrize("name", NAMES)
def test_fragments_are_short_and_of_one_split(name: str) -> None:
    rng = random.Random(1)
    for _ in range(200):
        turns = SKILLS[name].sample(rng)
        assert tokens_of_turns(turns) < 1200
        if name in ("copying", "editing", "json"):
            assert len({split_of(turn.key) for turn in turns}) == 1


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def test_copies_are_in_the_request_and_mostly_of_known_words() -> None:
    turns = list(_turns("copying", 600))
    rng = random.Random(4)
    known = set(_words(" ".join([*LOOSE, *(sentence(rng) for _ in range(3000))])))
    assert all(turn.answer in turn.user for turn in turns if len(turn.user) > 30)
    words = _words(" ".join(turn.answer for turn in turns))
    assert 0.002 * len(words) < sum(word not in known for word in words) < 0.03 * len(words)
    assert max(len(turn.answer.split()) for turn in turns) > 30


def test_an_edit_does_what_it_says() -> None:
    seen = set()
    for turn in _turns("editing", 600):
        user = turn.user.lower()
        if found := re.search(r"(?:replace|change|swap) (?:the word )?'(\w+)' (?:by|with|to) '(\w+)'", user):
            old, new = found.groups()
            left = user.replace(found[0], "")
            assert old in left and old not in turn.answer.split() and new in turn.answer
            seen.add("replace")
        elif "sort" in user:
            items = turn.answer.split(", ")
            assert items == sorted(items) and all(item in turn.user for item in items)
            seen.add("sort")
        elif "count" in user or "how many words" in user:
            *counted, total = turn.answer.removesuffix(" words.").split(" ")
            assert NUMBER_WORDS.index(total.lower()) == len(counted) // 2
            seen.add("count")
        elif "order of the sentences" in user:
            parts = re.findall(r"[^.]+\.", turn.answer)
            assert " ".join(part.strip() for part in reversed(parts)) in turn.user
            seen.add("reverse")
        elif "capital" in user or "upper" in user:
            assert turn.answer == turn.answer.upper() and turn.answer.lower() in turn.user
            seen.add("upper")
    assert seen == {"replace", "sort", "count", "reverse", "upper"}


def test_a_schema_in_the_request_validates_the_reference() -> None:
    checked = 0
    for turn in _turns("json"):
        found = re.search(r'\{"type": "object".*\}', turn.user)
        if found is None:
            continue
        schema, answer = json.loads(found[0]), json.loads(turn.answer)
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(answer, schema)
        assert list(schema["properties"]) == list(answer)
        checked += 1
    assert checked > 80


def test_what_a_text_does_not_say_is_null_and_what_it_says_is_there() -> None:
    rng, nulls = random.Random(2), 0
    for _ in range(300):
        turns = draw(SKILLS["json"], rng, "train")
        for value in (value for turn in turns for value in turn.expect["object"].values()):
            nulls += value is None
            assert not isinstance(value, str) or value.lower() in turns[0].user.lower()
    assert nulls > 40


def test_validity_and_correct_fields_are_two_figures() -> None:
    field = {"type": "integer", "nullable": False}
    turn = Turn(
        "json",
        "",
        "",
        expect={
            "object": {"a": 1, "b": ["x"], "c": None},
            "fields": {
                "a": field,
                "b": {"type": "array", "nullable": True},
                "c": {"type": "enum", "of": ["u", "v"], "nullable": True},
            },
        },
    )
    cases = {
        '{"a": 1, "b": ["x"], "c": null}': (True, 3),
        '{"a": 2, "b": ["x"], "c": "u"}': (True, 1),
        '{"b": ["x"], "a": 1, "c": null}': (False, 3),
        '{"a": true, "b": ["x"], "c": null}': (False, 2),
        '{"a": 1, "b": [2], "c": null}': (False, 2),
        '{"a": null, "b": ["x"], "c": "w"}': (False, 1),
        '{"a": 1, "b": ["x"]}': (False, 2),
        '{"a": 1, "b": ["x"], "c": null} ok': (False, 0),
        "[1]": (False, 0),
    }
    for answer, (fits, right) in cases.items():
        assert (valid(turn, answer), fields(turn, answer)) == (fits, (right, 3)), answer
        assert SKILLS["json"].check(turn, answer) == (fits and right == 3)


def test_every_domain_has_a_sentence_for_every_value() -> None:
    for name, domain in DOMAINS.items():
        assert domain["head"] in domain["fields"], name
        for key, field in domain["fields"].items():
            says = field["says"]
            if field["type"] == "boolean":
                assert [bool(side) for side in says] == [True, True], (name, key)
            else:
                assert says and all("<v>" in text for text in says), (name, key)


def test_calls_fit_the_tools_that_are_offered() -> None:
    rng, kinds = random.Random(8), set()
    for _ in range(300):
        turns = draw(SKILLS["tools"], rng, "train")
        offered = {tool["function"]["name"]: tool["function"]["parameters"] for tool in turns[0].tools}
        assert offered and not any(turn.tools for turn in turns[1:])
        for turn, after in zip(turns, [*turns[1:], None], strict=True):
            calls = calls_of(turn.answer)
            assert calls is not None
            for called, arguments in calls:
                jsonschema.validate(arguments, {**offered[called], "additionalProperties": False})
                assert all(str(value) in turn.user for value in arguments.values())
            kinds.add((turn.source, len(calls)))
            assert after is None or (after.source == "tool") == bool(calls)
            if after is not None and calls:
                assert len(after.user.splitlines()) == len(calls)
    assert kinds == {("user", 0), ("user", 1), ("user", 2), ("tool", 0)}


def test_calls_are_compared_by_value_and_in_any_order() -> None:
    calls = [("f", {"a": 1, "b": "x"}), ("g", {})]
    turn = Turn("tools", "", "", expect={"calls": calls})
    check = SKILLS["tools"].check
    texts = [call_text("g", {}), '<tool_call>{"arguments":{"b":"x","a":1},"name":"f"}</tool_call>']
    assert check(turn, "\n".join(texts))
    for wrong in (
        texts[0],
        "\n".join([*texts, texts[0]]),
        "\n".join(texts).replace('"a":1', '"a":"1"'),
        "ok",
    ):
        assert not check(turn, wrong)
    told = Turn("tools", "", "", expect={"calls": [], "quoted": ["12", "black tea"]})
    assert check(told, "It is 12, with black tea.")
    assert not check(told, "It is 121, with black tea.") and not check(told, "12: black green tea")
