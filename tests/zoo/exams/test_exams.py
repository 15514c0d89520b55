"""Grid, targets, controls and drafts, sat by candidates whose abilities are known."""

import random

import pytest

from penstock.zoo.data.base import split_of
from penstock.zoo.data.recall import needle
from penstock.zoo.exams.answers import Dialogue, Reply
from penstock.zoo.exams.controls import shuffled_chunks, without_needle
from penstock.zoo.exams.draft import acceptance
from penstock.zoo.exams.grid import (
    DEPTHS,
    PLAIN,
    VARIANTS,
    cell,
    contexts,
    recall_grid,
    recall_targets,
    several_at_once,
)
from penstock.zoo.exams.questions import Question
from penstock.zoo.exams.targets import chunk_questions, named_targets
from tests.zoo.exams.oracle import Oracle


class Cheat(Oracle):
    """Knows the reference answers of some questions by heart, whatever the text says."""

    def __init__(self, questions: list[Question], context: int = 2048) -> None:
        known = {_last_line(one.dialogue): one.turn.answer for one in questions}
        super().__init__(lambda dialogue: known.get(_last_line(dialogue), "?"), context=context)


def _last_line(dialogue: Dialogue) -> str:
    return str(dialogue.messages[-1]["content"]).rsplit("\n", 1)[-1]


def test_the_full_context_is_the_last_length() -> None:
    assert contexts(2048) == [256, 512, 1024, 2048]
    assert contexts(512) == [256, 512]
    assert contexts(200) == [200]


def test_a_cell_puts_the_pair_where_it_says() -> None:
    for depth in DEPTHS:
        for one in cell(PLAIN, 512, depth, 4, 0):
            text = str(one.dialogue.messages[0]["content"])
            value = one.turn.expect["values"][0]
            where = [spot / len(text) for spot in range(len(text)) if text.startswith(f"{value}", spot)]
            assert any(abs(spot - depth) < 0.2 for spot in where), (depth, where)
            assert split_of(one.turn.key) == "test"


def test_the_grid_has_a_row_per_cell_and_targets_pool_them() -> None:
    asked = [one for variant in VARIANTS for depth in DEPTHS for one in cell(variant, 256, depth, 2, 0)]
    oracle = Cheat(asked, context=256)
    cells = recall_grid(oracle, 20)
    assert len(cells) == len(VARIANTS) * len(DEPTHS)
    assert {row.labels["depth"] for row in cells} == set(DEPTHS)
    plain = [row for row in cells if row.labels["asked"] == "after" and row.labels["needles"] == "few"]
    assert [row.total for row in plain] == [4] * 5
    rows = {row.name: row for row in recall_targets(cells, 256)}
    assert rows["kvr at 256"].total == 20
    assert rows["kvr at 256"].target == 0.95
    assert rows["kvr at 256"].value == sum(row.passed or 0 for row in plain) / 20
    assert "kvr at 256, question before" in rows and "kvr at 256, many needles" in rows
    assert rows["kvr at 256, many needles"].target is None


def test_several_pairs_asked_for_at_once_are_all_in_the_text() -> None:
    oracle = Oracle("nothing", context=512)
    (row,) = several_at_once(oracle, 6)
    assert (row.name, row.total, row.value) == ("kvr at 512, two or three asked at once", 6, 0.0)
    for place in range(6):
        turn = needle(random.Random(place), 500, 0.5, asked=2 + place % 2)[-1]
        text, _, ask = turn.user.rpartition("\n")
        assert len(turn.expect["values"]) == 2 + place % 2 == ask.count(" and ") + 1
        assert all(value in text for value in turn.expect["values"])
        gone = needle(random.Random(place), 500, 0.5, asked=2 + place % 2, present=False)[-1].user
        assert gone.endswith(ask) and len(gone) < len(turn.user)


def test_who_reads_fails_without_the_needle_and_who_cheats_is_found_out() -> None:
    asked = [one for depth in DEPTHS for one in cell(PLAIN, 200, depth, 4, 0)]
    there, luck, says_so = without_needle(Cheat(asked, context=200), 20)
    assert there.value == 1.0
    assert luck.value == 1.0 and luck.reached is False
    assert says_so.value == 0.0
    gone = [one for depth in DEPTHS for one in cell(PLAIN, 200, depth, 4, 0, present=False)]
    there, luck, says_so = without_needle(Cheat(gone, context=200), 20)
    assert there.value == 0.0
    assert luck.value == 0.0 and luck.reached is True
    assert says_so.value == 1.0


def test_without_the_needle_the_text_is_the_same_but_for_the_pair() -> None:
    pairs = zip(cell(PLAIN, 256, 0.5, 3, 0), cell(PLAIN, 256, 0.5, 3, 0, present=False), strict=True)
    for there, gone in pairs:
        with_it, without = (str(one.dialogue.messages[0]["content"]) for one in (there, gone))
        assert 0 < len(with_it) - len(without) < 100
        assert _last_line(there.dialogue) == _last_line(gone.dialogue)


def test_who_knows_the_chunks_by_heart_is_found_out() -> None:
    right, shuffled = shuffled_chunks(Cheat(chunk_questions(512, 8, 0), context=512), 8)
    assert right.value == shuffled.value == 1.0
    assert shuffled.reached is False
    _, shuffled = shuffled_chunks(Oracle("I do not know.", context=512), 8)
    assert shuffled.value == 0.0 and shuffled.reached is True


def test_named_targets_say_what_they_aim_at() -> None:
    rows = {row.name: row for row in named_targets(Oracle("nothing", context=512), 8)}
    aims = {name: row.target for name, row in rows.items() if row.target is not None}
    assert aims == {
        "copying": 0.99,
        "JSON validity (unconstrained)": 0.95,
        "JSON fields right": 0.90,
        "one-step arithmetic": 0.95,
        "multi-step problems": 0.70,
        "length within 10 % of the asked": 0.90,
        "two-chunk questions": 0.80,
    }
    assert {"single-chunk questions", "tool calls", "answers from tool results", "  of 5 steps"} <= set(rows)
    assert rows["copying"].reached is False and rows["copying"].total == 8


def test_acceptance_counts_tokens_of_the_verifier() -> None:
    def reply(*ids: int) -> Reply:
        return Reply("", True, len(ids), (9,), ids)

    given = {"a": [reply(2, 4, 6), reply(1, 3)], "b": [reply(2, 1, 1, 1)], "c": [Reply("", False, 0)]}
    rows = acceptance(Oracle(""), given)  # it would choose even tokens
    assert [(row.labels.get("skill"), row.value, row.total) for row in rows] == [
        (None, pytest.approx(4 / 9), 9),
        ("a", pytest.approx(3 / 5), 5),
        ("b", pytest.approx(1 / 4), 4),
        ("c", 0.0, 0),
    ]
    assert rows[0].target == 0.6 and rows[0].reached is False


def test_questions_do_not_depend_on_what_was_drawn_before() -> None:
    first = cell(PLAIN, 256, 0.5, 2, 7)
    random.random()
    assert [one.turn.user for one in cell(PLAIN, 256, 0.5, 2, 7)] == [one.turn.user for one in first]
    assert [one.turn.user for one in cell(PLAIN, 256, 0.5, 2, 8)] != [one.turn.user for one in first]
