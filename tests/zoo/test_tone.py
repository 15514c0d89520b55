"""System prompts that change answers: to the end of the dialogue, and never against a given name."""

import random

from penstock.zoo.data import SKILLS, conversation
from penstock.zoo.data.base import draw
from penstock.zoo.data.tone import SKILL, SYSTEM, TONES, under
from penstock.zoo.data.world import SKILL as FACTS

_SELF = ("Penstock Chat",)


def test_a_tone_is_kept_in_every_turn() -> None:
    rng, prompts = random.Random(1), {prompt: tone for tone in TONES for prompt in tone.prompts}
    lengths = set()
    for _ in range(200):
        talk = conversation(rng, weights={"tone": 1.0, "facts": 1.0, "lists": 1.0}, turns=8)
        tone = prompts.get(talk.messages[0]["content"])
        if tone is None:
            continue
        answers = [message["content"] for message in talk.messages if message["role"] == "assistant"]
        assert all(text.startswith(tone.before) and text.endswith(tone.after) for text in answers)
        lengths.add(len(answers))
    assert max(lengths) >= 8


def test_a_given_name_is_never_contradicted_and_is_asked_for_anywhere() -> None:
    rng, places = random.Random(2), set[bool]()
    for _ in range(300):
        system, turns = under(rng, [t for _ in range(3) for t in draw(SKILLS["smalltalk"], rng, "train")])
        asks = [index for index, turn in enumerate(turns) if turn.skill == "tone"]
        if not asks:
            continue
        name = turns[asks[0]].expect["has"][0]
        assert name in system
        assert all(name in turns[index].answer for index in asks)
        assert not any(own in turn.answer for own in _SELF for turn in turns)
        places |= {index > 0 for index in asks}
    assert places == {True, False}


def test_without_talk_a_name_is_given() -> None:
    assert all(turn.skill == "tone" for turn in under(random.Random(3), [])[1])


def test_an_examined_tone_may_stand_behind_other_turns() -> None:
    rng = random.Random(4)
    fragments = [draw(SKILL, rng, "test") for _ in range(80)]
    assert all(turns[0].skill == SYSTEM for turns in fragments)
    assert {len(turns) > 2 for turns in fragments} == {True, False}
    for *_, last in fragments:
        assert SKILL.check(last, last.answer)
        assert not SKILL.check(last, "Banana split, said nobody")
    plain = FACTS.sample(rng)[0].answer
    assert sum(SKILL.check(last, plain) for *_, last in fragments) == 0
