"""What helps the chat model: its adapters and the embedder. The ranker's exam comes with what runs it."""

from pathlib import Path
from typing import TYPE_CHECKING

from penstock.zoo.adapters import ADAPTERS
from penstock.zoo.adapters.evaluate import OFF_TARGET, ON_TARGET, Examiner, Opening
from penstock.zoo.exams.rows import Row

if TYPE_CHECKING:
    from penstock.zoo.retrieval import Encode


def adapter_rows(
    base: Path, found: dict[str, Path], opening: Opening, questions: int, seed: int = 0
) -> list[Row]:
    """Return, for every adapter, the share of answers that its checker takes for its own, on and off.

    Args:
        base: folder of the model that they belong to.
        found: PEFT folders by name; a name that the registry lacks is left out.
        opening: loads the model with an adapter or without.
        questions: how many, the same on and off.
        seed: another seed asks other questions.
    """
    examiner = Examiner(base, questions, seed, opening)
    rows = list[Row]()
    for name in [name for name in found if name in ADAPTERS]:
        score = examiner.score(ADAPTERS[name], found[name])
        on = Row("adapters", base.name, name, score.on, *score.on_interval, score.questions,
                 passed=round(score.on * score.questions), target=ON_TARGET, labels={"on": True})  # fmt: skip
        off = Row("adapters", base.name, name, score.off, *score.off_interval, score.questions,
                  passed=round(score.off * score.questions), target=OFF_TARGET, bound="at most",
                  labels={"on": False})  # fmt: skip
        rows += [on, off]
    return rows


def embedder_rows(name: str, encode: "Encode", seed: int = 0, rounds: int = 5) -> list[Row]:
    """Return how often the text of the same meaning is found first, and among the first five.

    Args:
        name: of the embedder.
        encode: texts to unit vectors.
        seed: another seed draws other texts.
        rounds: of up to a hundred queries each.
    """
    from penstock.zoo.retrieval import evaluate_embedder

    rows = list[Row]()
    for score in evaluate_embedder(encode, seed, rounds):
        for place, value, low, high in (
            ("first", score.first, score.first_low, score.first_high),
            ("among five", score.five, score.five_low, score.five_high),
        ):
            what = f"{score.source} found {place} of {score.among}"
            hits = round(value * score.queries)
            rows.append(Row("embedder", name, what, value, low, high, score.queries, passed=hits))
    return rows
