"""What was asked already is not asked again."""

from penstock.zoo.exams.answers import Dialogue
from penstock.zoo.exams.remember import Remembering
from tests.zoo.exams.oracle import Oracle


def test_every_question_is_asked_once_and_answers_keep_their_order() -> None:
    inner = Oracle(lambda dialogue: str(dialogue.messages[-1]["content"]).upper())
    model = Remembering(inner)
    one, two, three = (Dialogue([{"role": "user", "content": text}]) for text in ("a", "b", "c"))
    with_tool = Dialogue(one.messages, ({"type": "function", "function": {"name": "f"}},))
    assert [reply.text for reply in model.reply([one, two, one])] == ["A", "B", "A"]
    assert [reply.text for reply in model.reply([three, one, with_tool])] == ["C", "A", "A"]
    assert inner.asked == ["a", "b", "c", "a"]
    model.reply([one], max_tokens=3)
    assert len(inner.asked) == 5
    assert (model.name, model.context) == (inner.name, inner.context)
    assert model.first_choices([((1,), (2, 3))]) == [[True, False]]
    model.close()
    assert inner.closed
