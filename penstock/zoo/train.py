"""Training of the zoo: ``python -m penstock.zoo.train --recipe chat``.

Plain PyTorch around the Llama module of transformers, so that an ordinary Hugging Face folder comes out.
Shape legend: R rows, T tokens in a row, V vocabulary.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from penstock.zoo.export import build_model, export_model
from penstock.zoo.packing import Batch, make_batch
from penstock.zoo.recipes import RECIPES, Recipe, Stage
from penstock.zoo.tokenizer import train_tokenizer

LossFn = Callable[[Batch], torch.Tensor]


def stage_of(recipe: Recipe, step: int) -> tuple[Stage, int]:
    """Return the stage that ``step`` falls into and the step number within it.

    Raises:
        ValueError: the recipe has fewer steps.
    """
    for stage in recipe.stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise ValueError(f"recipe {recipe.name!r} ends after {recipe.steps} steps")


def learning_rate(recipe: Recipe, step: int) -> float:
    """Return the learning rate of ``step``: linear warm-up at the very start, a cosine within each stage."""
    stage, at = stage_of(recipe, step)
    cosine = 0.5 * (1 + math.cos(math.pi * at / max(1, stage.steps)))
    return (stage.floor + (stage.peak - stage.floor) * cosine) * min(1.0, (step + 1) / recipe.warmup)


def weighted_loss(model: torch.nn.Module, batch: Batch, autocast: bool) -> torch.Tensor:
    """Return the mean cross-entropy, weighted per token; documents of a row do not see each other."""
    length = batch.ids_RT.shape[1]
    same_RTT = batch.document_RT[:, :, None] == batch.document_RT[:, None, :]
    causal_TT = torch.ones(length, length, dtype=torch.bool).tril()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits_RTV = model(
            input_ids=batch.ids_RT,
            position_ids=batch.position_RT,
            attention_mask=(same_RTT & causal_TT)[:, None],
            use_cache=False,
        ).logits
    losses_N = F.cross_entropy(
        logits_RTV[:, :-1].flatten(0, 1).float(), batch.ids_RT[:, 1:].flatten(), reduction="none"
    )
    weight_N = batch.weight_RT[:, 1:].flatten()
    return (losses_N * weight_N).sum() / weight_N.sum()


class Trainer:
    """A run: model, optimiser, step counter, and a folder with checkpoint, log and tokenizer.

    Args:
        recipe: what to train.
        run: folder of the run; continued if it holds a checkpoint, unless ``fresh``.
        compiled: compile the loss (one compilation for each stage).
        autocast: bf16 autocast.
        start: weights to begin with (a folder in Hugging Face layout), for continued training.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Path,
        *,
        compiled: bool = False,
        autocast: bool = True,
        start: Path | None = None,
        fresh: bool = False,
    ) -> None:
        self.recipe, self.run, self.autocast = recipe, run, autocast
        run.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.tokenizer = self._tokenizer(start)
        self.model = build_model(recipe.shape, start)
        self.optimizer = self._optimizer()
        self.step = 0
        self.seconds = 0.0
        if (run / "checkpoint.pt").exists() and not fresh:
            self._load()
        self._loss: LossFn = lambda batch: weighted_loss(self.model, batch, self.autocast)
        if compiled:
            self._loss = torch.compile(self._loss)

    def _tokenizer(self, start: Path | None) -> Any:
        from transformers import AutoTokenizer

        if start is not None:
            return AutoTokenizer.from_pretrained(start)
        folder = self.run / "tokenizer"
        if not (folder / "tokenizer.json").exists():
            shape = self.recipe.shape
            count = 20000 if shape.vocab > 1024 else 300
            train_tokenizer(folder, shape.vocab, self.recipe.seed, count, shape.context)
        return AutoTokenizer.from_pretrained(folder)

    def _optimizer(self) -> torch.optim.AdamW:
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.recipe.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=0.0, betas=self.recipe.betas, fused=True)

    def _load(self) -> None:
        state = torch.load(self.run / "checkpoint.pt", map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint (in one move, so that a kill never leaves half a file)."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.run / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.run / "checkpoint.pt")

    @property
    def done(self) -> bool:
        """Whether every step of the recipe was taken."""
        return self.step >= self.recipe.steps

    def train_step(self) -> float:
        """Take one optimiser step and return its loss."""
        began = time.perf_counter()
        stage, _ = stage_of(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        loss = self._loss(make_batch(self.tokenizer, self.recipe, stage, self.step))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.seconds += time.perf_counter() - began
        return float(loss.detach())

    def tokens(self) -> int:
        """Token positions processed so far."""
        left, total = self.step, 0
        for stage in self.recipe.stages:
            steps = min(left, stage.steps)
            total += steps * stage.rows * stage.length
            left -= steps
        return total

    def fit(
        self, *, minutes: float | None = None, save_every: float = 150.0, quiet: bool = False
    ) -> list[float]:
        """Train to the end of the recipe, or for ``minutes``; log, checkpoint and show progress.

        Returns:
            The losses of the steps taken by this call.
        """
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        losses: list[float] = []
        began = saved = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, disable=quiet) as bar, (self.run / "log.jsonl").open("a") as log:
            task = bar.add_task(self.recipe.name, total=self.recipe.steps, completed=self.step, note="")
            while not self.done and (minutes is None or time.monotonic() - began < 60 * minutes):
                losses.append(self.train_step())
                if self.step % 20 == 0 or self.done:
                    mean = sum(losses[-20:]) / len(losses[-20:])
                    row = {
                        "step": self.step,
                        "loss": round(mean, 4),
                        "tokens": self.tokens(),
                        "seconds": round(self.seconds),
                    }
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    bar.update(task, completed=self.step, note=f"step {self.step} loss {mean:.3f}")
                if time.monotonic() - saved > save_every:
                    self.save()
                    saved = time.monotonic()
        self.save()
        return losses

    def export(self, folder: Path) -> None:
        """Write the model as an ordinary Hugging Face folder (bf16)."""
        export_model(self.model, self.tokenizer, folder)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.train", description=__doc__)
    parser.add_argument("--recipe", choices=sorted(RECIPES), default="chat", help="which model to train")
    parser.add_argument(
        "--run", type=Path, help="folder of the run; continued if it exists (default runs/<recipe>)"
    )
    parser.add_argument("--out", type=Path, help="folder to export to at the end (default <run>/model)")
    parser.add_argument(
        "--start", type=Path, help="begin with the weights and tokenizer of this model folder"
    )
    parser.add_argument("--minutes", type=float, help="stop after so many minutes (the run can be continued)")
    parser.add_argument("--seed", type=int, help="another seed than the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    parser.add_argument("--compile", action="store_true", help="compile the training step")
    parser.add_argument("--fp32", action="store_true", help="no bf16 autocast")
    parser.add_argument("--fresh", action="store_true", help="ignore an existing checkpoint")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    recipe = RECIPES[options.recipe]
    if options.seed is not None:
        recipe = replace(recipe, seed=options.seed)
    run = options.run or Path("runs") / options.recipe
    trainer = Trainer(
        recipe,
        run,
        compiled=options.compile,
        autocast=not options.fp32,
        start=options.start,
        fresh=options.fresh,
    )
    (run / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.fit(minutes=options.minutes)
    out = options.out or run / "model"
    trainer.export(out)
    print(f"{trainer.tokens()} tokens in {trainer.seconds:.0f} s; model in {out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
