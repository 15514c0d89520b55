"""What the generators share: estimated sizes, fragments of a given size, the fields of a turn."""

import random

import pytest

from penstock.zoo import bundled_model_path
from penstock.zoo.data import SKILLS, Skill, Turn, draw
from penstock.zoo.data.base import capital, tokens_of, tokens_of_turns
from penstock.zoo.data.copying import sentence


@pytest.mark.parametrize("name", ["stories", "glossary", "facts", "smalltalk", "lists"])
def test_estimated_sizes_are_those_of_the_tokenizer(name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    rng = random.Random(1)
    for _ in range(40):
        text = " ".join(draw(SKILLS[name], rng, "train")[0].answer for _ in range(20))
        text += " ".join(f"{capital(sentence(rng))} ({rng.randint(10, 99999)})." for _ in range(10))
        real = len(tokenizer.encode(text, add_special_tokens=False))
        assert real <= tokens_of(text) <= 1.15 * real


def test_sizes_add_up_over_a_fragment() -> None:
    assert tokens_of("") == 0
    assert tokens_of(" the river is 481.\n") == 9, "3 words, a blank, 3 digits, a mark, a line's end"
    assert tokens_of_turns([Turn("x", " the river", "481"), Turn("x", " the", "")]) == 5 + 1 + 8


def test_a_budget_reaches_the_skills_that_heed_it() -> None:
    def plain(rng: random.Random) -> list[Turn]:
        return [Turn("x", "plain", "a")]

    def sized(rng: random.Random, tokens: int) -> list[Turn]:
        return [Turn("x", str(tokens), "a")]

    rng = random.Random(0)
    heeding = Skill("x", plain, lambda turn, answer: True, sized)
    assert draw(heeding, rng, "train", budget=70)[0].user == "70"
    assert draw(heeding, rng, "train")[0].user == "plain"
    assert draw(Skill("x", plain, heeding.check), rng, "train", budget=70)[0].user == "plain"


@pytest.mark.parametrize("name", sorted(name for name, skill in SKILLS.items() if skill.sized))
def test_budgets_hold_for_the_tokenizer_too(name: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    rng = random.Random(2)
    for _ in range(10):
        budget = rng.randint(128, 1900)
        talk = []
        for turn in draw(SKILLS[name], rng, "train", budget=budget):
            talk += [
                {"role": turn.source, "content": turn.user},
                {"role": "assistant", "content": turn.answer},
            ]
        assert len(tokenizer.apply_chat_template(talk, return_dict=False)) <= budget
