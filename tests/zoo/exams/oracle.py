"""Stands in for a model: answers with what a function says."""

from collections.abc import Callable, Sequence

from penstock.zoo.exams.answers import MAX_TOKENS, Dialogue, Reply


class Oracle:
    """An `Answerer` without a model.

    Args:
        text: the answer, or what makes it of the dialogue.
        stopped: whether answers end by themselves.
        context: most tokens.
    """

    name = "oracle"

    def __init__(
        self, text: str | Callable[[Dialogue], str], stopped: bool = True, context: int = 2048
    ) -> None:
        self.text, self.stopped, self.context = text, stopped, context
        self.dialogues: list[Dialogue] = []
        self.closed = False

    def reply(self, dialogues: Sequence[Dialogue], max_tokens: int = MAX_TOKENS) -> list[Reply]:
        self.dialogues += dialogues
        texts = [self.text if isinstance(self.text, str) else self.text(one) for one in dialogues]
        return [Reply(text, self.stopped, 1, (1, 2), (3, 4)) for text in texts]

    def first_choices(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[bool]]:
        return [[token % 2 == 0 for token in answer] for _, answer in texts]

    def close(self) -> None:
        self.closed = True

    @property
    def asked(self) -> list[str]:
        return [str(one.messages[-1]["content"]) for one in self.dialogues]
