"""Measuring the skills of a model on held-out keys: ``python -m penstock.zoo.evaluate``."""

import argparse
import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from penstock.zoo.chat import Talker
from penstock.zoo.data import SKILLS, Split, conversation, exam
from penstock.zoo.data.mixture import CHAT_WEIGHTS, Message

_SLACK = 60


@dataclass(frozen=True, slots=True)
class Score:
    """The result of one skill.

    Attributes:
        skill: its name.
        passed: answers that the checker accepted.
        stopped: answers that ended by themselves.
        total: questions asked.
        low: lower end of the 95 % interval of the share passed.
        high: upper end of it.
        failures: some of the wrong answers: question, wanted, got.
    """

    skill: str
    passed: int
    stopped: int
    total: int
    low: float
    high: float
    failures: list[tuple[str, str, str]]


def wilson(passed: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    share = passed / total
    centre = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def history(rng: random.Random, tokenizer: Any, tokens: int) -> list[Message]:
    """Return unrelated earlier talk of at most ``tokens`` tokens, and of nearly as many.

    Nothing in it tells the model a fact to remember, so that it never contradicts the question.
    """
    weights = {**CHAT_WEIGHTS, "memory": 0.0}
    messages: list[Message] = []
    used = 0
    while used < tokens - _SLACK:
        for message in conversation(rng, "train", weights, 1).messages:
            if message["role"] == "system":
                break
            messages.append(message)
            used += len(tokenizer.encode(message["content"], add_special_tokens=False)) + 2
    while used > tokens and messages:
        for message in messages[:2]:
            used -= len(tokenizer.encode(message["content"], add_special_tokens=False)) + 2
        messages = messages[2:]
    return messages


def score_skill(
    talker: Talker, name: str, questions: int, seed: int = 0, split: Split = "test", context: int = 0
) -> Score:
    """Ask ``questions`` fresh questions of one skill, greedily, and check the answers.

    Args:
        talker: the model.
        name: the skill.
        questions: how many.
        seed: another seed asks other questions.
        split: which keys are asked.
        context: tokens of unrelated talk before every question (the system prompt stays in front).
    """
    rng = random.Random(f"evaluate:{seed}:{name}")
    exams = [exam(rng, name, split) for _ in range(questions)]
    dialogues = [item.messages for item in exams]
    if context:
        dialogues = [_prepend(dialogue, history(rng, talker.tokenizer, context)) for dialogue in dialogues]
    batch = 8 if context else 32
    passed = stopped = 0
    failures: list[tuple[str, str, str]] = []
    for start in range(0, questions, batch):
        replies = talker.reply(dialogues[start : start + batch])
        for item, reply in zip(exams[start : start + batch], replies, strict=True):
            turn = item.turns[-1]
            right = reply.stopped and SKILLS[name].check(turn, reply.text)
            passed += right
            stopped += reply.stopped
            if not right and len(failures) < 5:
                failures.append((turn.user, turn.answer, reply.text))
    return Score(name, passed, stopped, questions, *wilson(passed, questions), failures)


def _prepend(dialogue: list[Message], earlier: list[Message]) -> list[Message]:
    head = 1 if dialogue[0]["role"] == "system" else 0
    return [*dialogue[:head], *earlier, *dialogue[head:]]


def evaluate(
    folder: Path | None = None,
    skills: Iterable[str] | None = None,
    questions: int = 100,
    seed: int = 0,
    context: int = 0,
) -> list[Score]:
    """Score a model folder (the bundled model by default) on the named skills, or on all.

    Args:
        folder: an ordinary Hugging Face folder.
        skills: names from ``SKILLS``.
        questions: how many per skill.
        seed: another seed asks other questions.
        context: tokens of unrelated talk before every question.

    Raises:
        KeyError: an unknown skill.
    """
    from rich.progress import track

    talker = Talker(folder)
    names = list(skills or SKILLS)
    unknown = [name for name in names if name not in SKILLS]
    if unknown:
        raise KeyError(f"unknown skills {unknown}; known: {sorted(SKILLS)}")
    bar = track(names, "evaluating", transient=True)
    return [score_skill(talker, name, questions, seed, context=context) for name in bar]


def table(scores: Sequence[Score]) -> Any:
    """Return a rich table of ``scores``."""
    from rich.table import Table

    grid = Table("skill", "passed", "95 % interval", "stopped by itself", "questions")
    for score in scores:
        grid.add_row(
            score.skill,
            f"{100 * score.passed / score.total:.1f} %",
            f"{100 * score.low:.0f}-{100 * score.high:.0f} %",
            f"{100 * score.stopped / score.total:.1f} %",
            str(score.total),
        )
    return grid


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.evaluate", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="model folder (default: the bundled model)")
    parser.add_argument("--skills", nargs="*", choices=sorted(SKILLS), help="which skills (default: all)")
    parser.add_argument("--questions", type=int, default=100, help="questions per skill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--context", type=int, default=0, help="tokens of unrelated talk before every question"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the scores here")
    parser.add_argument("--failures", action="store_true", help="show some wrong answers")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    scores = evaluate(options.folder, options.skills, options.questions, options.seed, options.context)
    console = Console()
    console.print(table(scores))
    for score in scores if options.failures else []:
        for user, wanted, got in score.failures:
            console.print(f"{score.skill}: {user!r}\n  wanted {wanted!r}\n  got    {got!r}", markup=False)
    if options.json:
        options.json.write_text(json.dumps([asdict(score) for score in scores], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
