"""Model cards, written from what a run and an evaluation left behind: ``python -m penstock.zoo.card``.

RUN is the folder of a training run (``recipe.json``, ``machine.json``, ``log.jsonl``), REPORT the JSON file
of ``penstock zoo eval --json``, OUT the model folder that gets the card as README.md.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from penstock.zoo.catalog import parameter_count
from penstock.zoo.exams.report import load_rows
from penstock.zoo.exams.rows import Row
from penstock.zoo.recipes import RECIPES, Recipe, Shape

_ABOUT = {
    "penstock-chat": "the bundled default of the server: something that answers, streams and stops, on any "
    "machine, with nothing to download",
    "penstock-small": "a quarter of the default with the same skills, worse: for routing, judging, hand-off",
    "penstock-draft": "a guesser of what the default says next: for speculative decoding",
    "penstock-moe": "a mixture of experts made from the default: for work on routing and offloading experts",
    "penstock-chat-large": "five times the default, for those who have a GPU",
}
_ANSWERERS = {"engine": "Penstock's engine"}
_HEAD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
"""
_DATA = (
    "**Data.** English text generated from seeds by `penstock/zoo/data`, one generator for each skill, with "
    "the checker of its answers; nothing else was seen. A hash of each item's key (operands, texts, wording) "
    "keeps train and test apart: every figure below is about keys that no training saw."
)
_LIMITS = (
    "**Limits.** It knows nothing beyond its generators, and says so for most, not all, questions outside "
    "them. It has no judgement, and its refusals are a pattern, not a safeguard. What the table shows below "
    "its target fails that often; wording far from the generators' fails more. Not for any use in earnest."
)


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run left behind.

    Attributes:
        recipe: its recipe as plain data.
        machines: for each sitting, what it ran on.
        stages: for each stage that was reached: steps, tokens and seconds spent in it.
    """

    recipe: dict[str, Any]
    machines: list[dict[str, Any]]
    stages: list[tuple[int, int, float]]


def read_run(folder: Path) -> Run:
    """Return what is in the folder of a run."""
    recipe = json.loads((folder / "recipe.json").read_text())
    path = folder / "machine.json"
    machines = json.loads(path.read_text()) if path.exists() else []
    last: dict[int, tuple[int, int, float]] = {}
    for line in (folder / "log.jsonl").read_text().splitlines():
        row = json.loads(line)
        if "loss" in row:
            number = min(row["stage"], len(recipe["stages"]) - 1)
            last[number] = (row["step"], row["tokens"], row["seconds"])
    ends = [(0, 0, 0.0), *(last[number] for number in sorted(last))]
    stages = [(two[0] - one[0], two[1] - one[1], two[2] - one[2]) for one, two in pairwise(ends)]
    return Run(recipe, machines, stages)


def card(run: Run, rows: Iterable[Row], answerer: str = "engine", note: str = "") -> str:
    """Return the model card in Markdown.

    Args:
        run: how the model was trained.
        rows: figures; those about other models are left out, unless all are about one, whatever it is called.
        answerer: what ran the models for the figures.
        note: more about the training, as a paragraph of its own.
    """
    name = run.recipe["name"]
    parts = [
        f"# {name}",
        f"A very small language model of the Penstock project, trained from scratch: "
        f"{_ABOUT.get(name, name)}.",
        _shape(Shape(**run.recipe["shape"])),
        _DATA,
        _training(run),
        *([note] if note else []),
        _evaluation(_about(name, list(rows)), answerer),
        _LIMITS,
        "**Licence.** Apache-2.0, weights and data.",
    ]
    return _HEAD + "\n\n".join(parts) + "\n"


def _about(name: str, rows: list[Row]) -> list[Row]:
    """Return the figures of the model; a model that ran from its run's folder goes by the folder's name."""
    models = {row.model for row in rows}
    return rows if len(models) == 1 else [row for row in rows if row.model == name]


def _shape(shape: Shape) -> str:
    kind = f"{shape.experts} experts, {shape.top_k} at a time, each" if shape.experts else "feed-forward"
    return (
        f"**Shape.** {'Mixtral' if shape.experts else 'Llama'}: {parameter_count(shape) / 1e6:.2f} M "
        f"parameters in bf16, {shape.layers} layers, width {shape.hidden}, {shape.heads} query and "
        f"{shape.kv_heads} key-value heads of {shape.head_dim}, {kind} {shape.intermediate}, tied "
        f"embeddings, RoPE base 10000, context {shape.context}. Tokenizer: byte-level BPE with {shape.vocab} "
        "tokens, every digit apart. Chat format: `<|bos|><|user|>...<|end|><|assistant|>...<|end|>`, "
        "`<|end|>` is the end token; tools are offered in the system block, calls are `<tool_call>` JSON."
    )


def _training(run: Run) -> str:
    recipe = run.recipe
    model = next((key for key, one in RECIPES.items() if _same(one, recipe)), None)
    tokens = sum(stage[1] for stage in run.stages)
    minutes = sum(stage[2] for stage in run.stages) / 60
    origin = f"from the weights of {recipe['start']}" if recipe["start"] else "from nothing"
    teacher = recipe["teacher"]
    imitates = f", {recipe['imitation']:.0%} of the loss its divergence from {teacher}" if teacher else ""
    text = (
        f"**Training.** {'Recipe `' + model + '`, ' if model else ''}{origin}{imitates}: "
        f"{sum(stage[0] for stage in run.stages)} steps, {tokens / 1e6:.1f} M token positions in "
        f"{minutes:.0f} minutes of training steps; {_optimizer(recipe)}, seed {recipe['seed']}. Loss on "
        "answers only, their first and last tokens weighted up; documents packed without seeing each other.\n"
    )
    lines = ["| stage | longest document | steps | tokens | learning rate | minutes |", "| --- " * 6 + "|"]
    for number, (steps, seen, seconds) in enumerate(run.stages):
        stage = recipe["stages"][number]
        rates = f"{stage['peak']:.1e} to {stage['floor']:.1e}"
        spent = f"{steps} | {seen / 1e6:.2f} M | {rates} | {seconds / 60:.0f}"
        lines.append(f"| {number + 1} | {stage['length']} | {spent} |")
    hardware = "; ".join(dict.fromkeys(_machine(machine) for machine in run.machines)) or "not recorded"
    again = f"`penstock zoo train --model {model or 'chat'}`"
    return (
        text
        + "\n"
        + "\n".join(lines)
        + f"\n\nHardware: {hardware}. {again} runs the recipe again and gives a model of the same kind: "
        "time, not steps, ended the stages above where minutes were given."
    )


def _same(recipe: Recipe, plain: dict[str, Any]) -> bool:
    return (recipe.name, recipe.start, recipe.teacher) == (plain["name"], plain["start"], plain["teacher"])


def _optimizer(recipe: dict[str, Any]) -> str:
    kind = "Muon for the matrices, AdamW for the rest" if recipe["optimizer"] == "muon" else "AdamW"
    return f"{kind}, weight decay {recipe['weight_decay']}"


def _machine(machine: dict[str, Any]) -> str:
    compiled = ", compiled" if machine["compiled"] else ""
    return f"{machine['processor']}, {machine['threads']} threads, torch {machine['torch']}{compiled}"


def _evaluation(rows: list[Row], answerer: str) -> str:
    if not rows:
        return "**Evaluation.** None yet: `penstock zoo eval` measures it."
    lines = ["| exam | figure | value | 95 % interval | of | target |", "| --- " * 6 + "|"]
    for row in rows:
        if row.part == "grid":
            continue
        target = "" if row.target is None else f"{row.bound} {_value(row, row.target)}"
        missed = " (missed)" if row.reached is False else ""
        labels = "".join(f", {key} {value}" for key, value in row.labels.items())
        spread = f"{_value(row, row.low)} to {_value(row, row.high)}"
        value = f"{_value(row, row.value)}{missed}"
        lines.append(f"| {row.part} | {row.name}{labels} | {value} | {spread} | {row.total} | {target} |")
    grid = [row for row in rows if row.part == "grid"]
    more = f"\n\n{_grid(grid)}" if grid else ""
    return (
        f"**Evaluation.** `penstock zoo eval`, greedy, run by {answerer}, held-out keys, exact checkers.\n\n"
        + "\n".join(lines)
        + more
    )


def _value(row: Row, value: float) -> str:
    return f"{100 * value:.1f} %" if row.part != "ranker" else f"{value:.3f}"


def _grid(rows: list[Row]) -> str:
    contexts = sorted({row.labels["context"] for row in rows})
    told = []
    for context in contexts:
        cells = [row for row in rows if row.labels["context"] == context]
        passed, total = sum(row.passed or 0 for row in cells), sum(row.total for row in cells)
        worst = min(cells, key=lambda row: row.value)
        weakest = f"worst of {len(cells)} cells {100 * worst.value:.0f} %"
        told.append(f"{context} tokens {100 * passed / total:.1f} % ({weakest})")
    return (
        "Recall over contexts, depths, places of the question and numbers of needles: "
        + "; ".join(told)
        + "."
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.card", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("report", type=Path, help="JSON report of penstock zoo eval")
    parser.add_argument("out", type=Path, help="model folder")
    parser.add_argument("--note", default="", help="more about the training, as a paragraph of its own")
    options = parser.parse_args(argv)
    answerer = json.loads(options.report.read_text())["answerer"]
    rows = load_rows(options.report)
    text = card(read_run(options.run), rows, _ANSWERERS.get(answerer, answerer), options.note)
    (options.out / "README.md").write_text(text)
    print(f"{options.out / 'README.md'} written")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
