"""The generators: deterministic, disjoint by key, and consistent with their checkers."""

import random
from itertools import pairwise

import pytest

from penstock.zoo.data import SKILLS, Conversation, Skill, Turn, conversation, draw, exam, split_of
from penstock.zoo.data.base import humanise, imperative, spin
from penstock.zoo.data.tone import TONES
from penstock.zoo.data.words import THEMES
from penstock.zoo.data.world import TOWNS


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_a_seed_decides_the_fragments(name: str) -> None:
    first = [draw(SKILLS[name], random.Random(7), "train") for _ in range(3)]
    again = [draw(SKILLS[name], random.Random(7), "train") for _ in range(3)]
    other = [draw(SKILLS[name], random.Random(f"x{i}"), "train") for i in range(3)]
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_train_and_test_never_share_a_key(name: str) -> None:
    rng = random.Random(3)
    train = {turn.key for _ in range(400) for turn in draw(SKILLS[name], rng, "train") if turn.key}
    test = {draw(SKILLS[name], rng, "test")[-1].key for _ in range(100)}
    assert "" not in test, "material that must be learnt is never examined"
    assert not train & test


@pytest.mark.parametrize("name", sorted(SKILLS))
def test_the_checker_accepts_the_reference_and_rejects_another_answer(name: str) -> None:
    rng = random.Random(5)
    turns = [draw(SKILLS[name], rng, "test")[-1] for _ in range(200)]
    assert all(SKILLS[name].check(turn, turn.answer) for turn in turns)
    assert not any(SKILLS[name].check(turn, "Banana split, said nobody") for turn in turns)
    swapped = sum(SKILLS[name].check(turn, other.answer) for turn, other in pairwise(turns))
    ceiling = {"yesno": 0.65, "refusals": 0.75, "smalltalk": 0.2}.get(name, 0.15)
    assert swapped <= ceiling * len(turns), "a checker that accepts a neighbour's answer measures nothing"


def test_conversations_are_deterministic_and_alternate() -> None:
    def run(seed: int) -> list[Conversation]:
        rng = random.Random(seed)
        return [conversation(rng) for _ in range(200)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    for talk in run(1):
        roles = [message["role"] for message in talk.messages]
        body = roles[1:] if roles[0] == "system" else roles
        body = ["user" if role == "tool" else role for role in body]
        assert body == ["user", "assistant"] * (len(body) // 2)
        assert all(message["content"].strip() for message in talk.messages)


def test_no_conversation_forgets_what_the_user_told() -> None:
    rng = random.Random(11)
    for _ in range(3000):
        told = False
        for turn in conversation(rng, weights={"memory": 1, "smalltalk": 2}, turns=4).turns:
            told |= turn.skill == "memory"
            assert not (told and "I do not know your name" in turn.answer)


def test_an_exam_ends_with_a_question_and_hides_its_answer() -> None:
    rng = random.Random(13)
    for name in SKILLS:
        item = exam(rng, name)
        assert item.messages[-1] == {"role": item.turns[-1].source, "content": item.turns[-1].user}
        assert split_of(item.turns[-1].key) == "test"


def test_drawing_fails_clearly_where_a_split_is_empty() -> None:
    greeting = Skill("greeting", lambda rng: [Turn("greeting", "hi", "Hello!")], lambda turn, answer: True)
    with pytest.raises(RuntimeError, match=r"'greeting' yields no test item"):
        draw(greeting, random.Random(0), "test", tries=5)


def test_templates_expand_nested_choices_and_fill_slots_verbatim() -> None:
    rng = random.Random(1)
    seen = {spin(rng, "{a|b {c|d}} <x>", x="{kept}") for _ in range(100)}
    assert seen == {"a {kept}", "b c {kept}", "b d {kept}"}
    assert imperative(random.Random(2), "what is this?") == "what is this?"


def test_noise_changes_form_but_not_numbers() -> None:
    rng = random.Random(4)
    forms = {humanise(rng, "tell me 17 facts about the scheduler.") for _ in range(300)}
    assert len(forms) > 15
    assert all("17" in form for form in forms)


def test_the_invented_country_is_the_same_everywhere() -> None:
    assert len({town.name for town in TOWNS}) == 20
    assert (TOWNS[0].name, TOWNS[0].product, TOWNS[0].mayor) == ("Belhaven", "honey", "Xavier")


def test_word_lists_have_no_doubles_and_enough_items() -> None:
    for theme, items in THEMES.items():
        assert len(items) == len(set(items)) >= 8, theme
    assert len({tone.before + tone.after for tone in TONES}) == len(TONES)
