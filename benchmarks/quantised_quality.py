"""What quantised weights and keys cost in quality: the zoo's skills and the perplexity of right answers.

Every way answers the same held-out questions, greedily, in the engine; each score is compared with that of
the plain one question by question. Bars: int8 within 1 point of the mean of all skills, int4 within 3.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from penstock.bench.examinee import Examinee
from penstock.bench.report import envelope, result_path, write_result
from penstock.zoo.data.mixture import SKILLS
from penstock.zoo.exams.plan import model_folder
from penstock.zoo.exams.questions import Question, held_out, right
from penstock.zoo.exams.rows import Z

PLAIN = "plain"
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "int8 weights": {"quantization": "int8"},
    "int4 weights": {"quantization": "int4"},
    "int8 KV": {"kv_cache_dtype": "int8"},
    "int8 weights and KV": {"quantization": "int8", "kv_cache_dtype": "int8"},
}
BARS = {"int8 weights": 1.0, "int4 weights": 3.0}
"""Most points that may be lost."""


def sit(folder: Path, settings: dict[str, Any], asked: Sequence[Question]) -> tuple[list[bool], float]:
    """Return which answers were right, and the mean negative log-probability of the tokens of right ones."""
    with closing(Examinee(folder, **settings)) as model:
        replies = model.reply([one.dialogue for one in asked])
        texts = [
            (reply.prompt_ids, model.encode(one.turn.answer))
            for one, reply in zip(asked, replies, strict=True)
        ]
        texts = [(prompt, ids) for prompt, ids in texts if len(prompt) + len(ids) < model.context]
        logprobs = [value for answer in model.token_logprobs(texts) for value in answer]
    graded = [right(one, reply) for one, reply in zip(asked, replies, strict=True)]
    return graded, -math.fsum(logprobs) / len(logprobs)


def compared(names: Sequence[str], plain: Sequence[bool], other: Sequence[bool]) -> tuple[float, float]:
    """Return by how many points of the mean of all skills the other is better, and half the 95 % interval."""
    mean = variance = 0.0
    skills = sorted(set(names))
    for skill in skills:
        pairs = [(int(b) - int(a)) for name, a, b in zip(names, plain, other, strict=True) if name == skill]
        here = sum(pairs) / len(pairs)
        mean += here / len(skills)
        spread = sum((one - here) ** 2 for one in pairs) / max(1, len(pairs) - 1)
        variance += spread / len(pairs) / len(skills) ** 2
    return 100 * mean, 100 * Z * math.sqrt(variance)


def score(names: Sequence[str], graded: Sequence[bool]) -> float:
    """Return the mean of all skills in points."""
    skills = sorted(set(names))
    shares = []
    for skill in skills:
        mine = [ok for name, ok in zip(names, graded, strict=True) if name == skill]
        shares.append(sum(mine) / len(mine))
    return 100 * sum(shares) / len(shares)


def measure(folder: Path, ways: Sequence[str], questions: int, seed: int) -> list[dict[str, Any]]:
    """Let the model answer in every way; the plain one comes first, for the others are compared with it."""
    drawn = [(name, one) for name in SKILLS for one in held_out(name, questions, seed)]
    names, asked = [name for name, _ in drawn], [one for _, one in drawn]
    plain, base = sit(folder, WAYS[PLAIN], asked)
    found: list[dict[str, Any]] = [
        {"way": PLAIN, "skills": score(names, plain), "perplexity": math.exp(base)}
    ]
    for way in (way for way in ways if way != PLAIN):
        graded, loss = sit(folder, WAYS[way], asked)
        points, within = compared(names, plain, graded)
        line = {"way": way, "skills": score(names, graded), "perplexity": math.exp(loss)}
        line |= {"points": points, "within": within, "perplexity_ratio": math.exp(loss - base)}
        found.append(line | {"least": -BARS[way] if way in BARS else None})
    return found


def show(title: str, found: Sequence[dict[str, Any]]) -> bool:
    """Print a table; return whether every bar holds."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in ("", "skills", "difference in points", "bar", "perplexity", "ratio", ""):
        table.add_column(name, justify="right" if name else "left")
    missed = False
    for line in found:
        least = line.get("least")
        short = least is not None and line["points"] < least
        missed |= short
        change = f"{line['points']:+.2f} ± {line['within']:.2f}" if "points" in line else ""
        table.add_row(
            line["way"], f"{line['skills']:.1f}", change, "" if least is None else f"{least:+.0f}",
            f"{line['perplexity']:.4f}", f"{line.get('perplexity_ratio', 1.0):.4f}",
            "" if least is None else "short" if short else "pass",
        )  # fmt: skip
    Console().print(table)
    return not missed


def main() -> int:
    """Run the command line; the exit status says whether the bars hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="chat", help="name or folder [default: chat]")
    parser.add_argument("--questions", type=int, default=50, help="for each skill [default: 50]")
    parser.add_argument("--seed", type=int, default=0, help="another one asks other questions")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY")
    parser.add_argument("--save", default="", help="file or folder for the result")
    args = parser.parse_args()
    folder = model_folder(args.model)
    found = measure(folder, args.ways, args.questions, args.seed)
    held = show(f"{folder.name}: {args.questions} questions for each skill", found)
    if args.save:
        path = result_path(args.save, "quantised-quality")
        write_result(path, envelope("quantised-quality", vars(args)) | {"results": found})
        print(f"saved {path}")
    return int(not held)


if __name__ == "__main__":
    raise SystemExit(main())
