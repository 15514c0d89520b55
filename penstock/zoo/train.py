"""Training of the zoo: ``penstock zoo train --model chat``."""

import argparse
import importlib
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO

import torch

from penstock.zoo.data import SKILLS
from penstock.zoo.data.mixture import CHAT_WEIGHTS
from penstock.zoo.probe import Probe
from penstock.zoo.recipes import RECIPES, smoke
from penstock.zoo.sittings import note_machine
from penstock.zoo.team import Team, started
from penstock.zoo.trainer import Machine, Trainer

_EVERY = 20
_ELSEWHERE = {
    "adapters": "penstock.zoo.adapters.train",
    "embedder": "penstock.zoo.contrastive",
}
"""What ``--model`` names besides recipes: modules with a trainer and flags of their own."""


class Logbook:
    """Progress bar, log lines, checkpoints and probes of a run; a context that also hears SIGTERM and SIGINT.

    Args:
        trainer: the run.
        quiet: no bar.
        probe_minutes: minutes between two looks at held-out questions; 0 for none.
        save_seconds: seconds between two checkpoints.
    """

    def __init__(
        self, trainer: Trainer, quiet: bool = False, probe_minutes: float = 4.0, save_seconds: float = 120.0
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.trainer, self._probe_seconds, self._save_seconds = trainer, 60 * probe_minutes, save_seconds
        note = TextColumn("{task.fields[note]}")
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), note)
        self._bar = Progress(*columns, disable=quiet)
        self._task = self._bar.add_task(trainer.recipe.name, total=1.0, note="")
        self._losses: list[float] = []
        self._stage = trainer.progress.stage
        self._saved = self._probed = time.monotonic()
        self._probes: dict[int, Probe] = {}
        self._log: TextIO
        self._stop = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Logbook":
        self._log = (self.trainer.run / "log.jsonl").open("a")
        self._bar.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._bar.stop()
        self._log.close()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._stop = True

    def __call__(self, loss: float) -> bool:
        """Note a step; return whether somebody asked the run to stop."""
        trainer, now = self.trainer, time.monotonic()
        self._losses.append(loss)
        ended = trainer.progress.stage != self._stage
        if trainer.progress.step % _EVERY == 0 or ended:
            self._note()
        self._stage = trainer.progress.stage
        if self._probe_seconds and now - self._probed > self._probe_seconds and not trainer.done:
            self._probed = now
            self._look()
        if now - self._saved > self._save_seconds:
            trainer.save()
            self._saved = now
        return self._stop

    def _note(self) -> None:
        progress = self.trainer.progress
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        row = {
            "step": progress.step,
            "stage": self._stage,
            "loss": round(mean, 4),
            "tokens": progress.tokens,
            "seconds": round(progress.seconds),
        }
        self._write(row)
        speed = progress.tokens / progress.seconds
        note = f"stage {self._stage} step {progress.step} loss {mean:.3f} {speed:.0f} tokens/s"
        done = progress.overall(self.trainer.recipe, self.trainer.minutes)
        self._bar.update(self._task, completed=done, note=note)

    def _look(self) -> None:
        trainer, number = self.trainer, self.trainer.progress.stage
        stage = trainer.recipe.stages[number]
        if number not in self._probes:
            names = sorted(name for name in stage.mix or CHAT_WEIGHTS if name in SKILLS)
            self._probes = {number: Probe(trainer.tokenizer, names, stage.length - 32)}
        readings = self._probes[number].read(trainer.model, trainer.machine.autocast)
        found = {name: [round(one.loss, 3), round(one.exact, 2)] for name, one in readings.items()}
        self._write({"step": trainer.progress.step, "probe": found})

    def _write(self, row: dict[str, Any]) -> None:
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()


def _parser(models: Iterable[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock zoo train", description=__doc__)
    add = parser.add_argument
    add(
        "--model",
        choices=sorted(models),
        default="chat",
        help="what to train (default chat)",
    )
    add("--run", type=Path, help="folder of the run; continued if it exists (default runs/MODEL)")
    add("--out", type=Path, help="folder to export to at the end (default RUN/model)")
    add("--start", type=Path, help="begin with the weights and tokenizer of this model folder")
    add("--teacher", type=Path, help="imitate this model folder instead of the recipe's teacher")
    add("--minutes", type=float, help="time for the whole run; every stage is shortened to its share")
    add("--seed", type=int, help="another seed than the recipe's")
    add("--threads", type=int, default=1, help="torch threads (default 1)")
    add("--processes", type=int, default=1, help="processes that train together, a batch each (default 1)")
    add("--workers", type=int, default=1, help="processes that make batches ahead (default 1; 0 for none)")
    add("--device", default="cpu", choices=["cpu", "cuda"], help="where to compute (default cpu)")
    add("--compile", action="store_true", help="compile the layers (CPU: about a minute, then faster)")
    add("--fp32", action="store_true", help="no bf16 autocast")
    add("--fresh", action="store_true", help="ignore an existing checkpoint")
    add(
        "--probe", type=float, default=4.0, metavar="MINUTES", help="minutes between looks at held-out skills"
    )
    add("--smoke", action="store_true", help="seconds instead of hours: a tiny model, to try the recipe")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


def _fit(trainer: Trainer, options: argparse.Namespace) -> list[float]:
    """Train with bar, log and checkpoints."""
    (trainer.run / "recipe.json").write_text(json.dumps(asdict(trainer.recipe), indent=1))
    note_machine(trainer.run, options.processes * options.threads, options.compile, options.device)
    with Logbook(trainer, options.quiet, options.probe) as logbook:
        return trainer.fit(logbook)


def main(argv: Sequence[str] | None = None, above: Mapping[str, str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: its words; those of the process when left out.
        above: further trainers, by what ``--model`` calls them: modules of the layers above.

    Returns:
        The exit status.
    """
    elsewhere = {**_ELSEWHERE, **(above or {})}
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--model")
    known, rest = first.parse_known_args(argv)
    if known.model in elsewhere:
        status: int = importlib.import_module(elsewhere[known.model]).main(rest)
        return status
    options = _parser({**RECIPES, **elsewhere}).parse_args(argv)
    if started(options.processes, "penstock.zoo.train", argv):
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(options.threads)
    recipe = RECIPES[options.model]
    if options.smoke:
        recipe = smoke(recipe)
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    run = options.run or Path("runs") / (options.model + "-smoke" * options.smoke)
    team = Team.join(options.device)
    trainer = Trainer(
        recipe,
        run,
        Machine(options.device, not options.fp32, options.compile, options.workers),
        start=options.start,
        teacher=options.teacher,
        minutes=options.minutes,
        fresh=options.fresh,
        team=team,
    )
    losses = _fit(trainer, options) if team.leads else trainer.fit()
    team.part()
    if not team.leads:
        return 0
    out = options.out or run / "model"
    trainer.export(out)
    progress = trainer.progress
    state = "done" if trainer.done else "stopped; the same command goes on with it"
    print(f"{progress.tokens} tokens in {progress.seconds:.0f} s, {state}; model in {out}")
    if losses:
        few = max(1, len(losses) // 5)
        print(f"loss {sum(losses[:few]) / few:.3f} at first, {sum(losses[-few:]) / few:.3f} at last")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
