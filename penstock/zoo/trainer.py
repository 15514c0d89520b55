"""A training run: model, optimisers, progress, and a folder with checkpoint, log and tokenizer.

Plain PyTorch around the modules of transformers, so that an ordinary Hugging Face folder comes out.
Shape legend: N tokens of a batch, M positions with weight.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from penstock.zoo import attention, bundled_model_path
from penstock.zoo.export import build_model, export_model, load_model, save_tokenizer
from penstock.zoo.feed import batches
from penstock.zoo.loss import counted, divergences, hidden_states, imbalance, token_losses, weighted_mean
from penstock.zoo.optim import optimizers
from penstock.zoo.packing import Batch
from penstock.zoo.recipes import Recipe
from penstock.zoo.schedule import Progress, learning_rate
from penstock.zoo.team import Team
from penstock.zoo.tokenizer import train_tokenizer


@dataclass(frozen=True, slots=True)
class Machine:
    """How a run uses the machine; nothing here changes what is learnt, but for rounding.

    Attributes:
        device: ``cpu`` or ``cuda``.
        autocast: compute in bf16 where that is safe.
        compiled: compile the layers.
        workers: processes that make batches ahead.
    """

    device: str = "cpu"
    autocast: bool = True
    compiled: bool = False
    workers: int = 0


class Trainer:
    """A run that can be continued.

    Args:
        recipe: what to train.
        run: folder of the run; continued if it holds a checkpoint, unless ``fresh``.
        machine: how to compute.
        start: weights and tokenizer to begin with (a model folder) instead of the recipe's.
        teacher: model folder to imitate instead of the recipe's teacher.
        minutes: time that the whole run may take, however often it is continued; None for all steps.
        fresh: ignore a checkpoint.
        team: the processes that train together; this one alone by default.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: Path,
        machine: Machine | None = None,
        *,
        start: Path | None = None,
        teacher: Path | None = None,
        minutes: float | None = None,
        fresh: bool = False,
        team: Team | None = None,
    ) -> None:
        self.recipe, self.run, self.machine = recipe, run, machine or Machine()
        self.minutes, self.team = minutes, team or Team()
        run.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        start = start or (bundled_model_path(recipe.start) if recipe.start else None)
        teacher = teacher or (bundled_model_path(recipe.teacher) if recipe.teacher else None)
        self.tokenizer = self._tokenizer(start or teacher)
        self.model = self._place(build_model(recipe.shape, start))
        self.teacher = self._place(load_model(teacher)) if teacher else None
        self._routed: list[torch.Tensor] = []
        self._watch_routers()
        self.optimizers = optimizers(self.model, recipe)
        self.progress = Progress()
        if (run / "checkpoint.pt").exists() and not fresh:
            self._load()
        self._states: Callable[..., torch.Tensor] = hidden_states
        if self.machine.compiled:
            self._states = torch.compile(hidden_states)

    def _place(self, model: Any) -> Any:
        attention.register()
        model.set_attn_implementation(attention.NAME)
        return model.to(self.machine.device)

    def _watch_routers(self) -> None:
        """Keep what the routers of experts say of each batch, for the balance of their load."""
        for name, module in self.model.named_modules():
            if self.recipe.shape.experts and name.endswith("mlp.gate"):
                module.register_forward_hook(lambda _, __, said: self._routed.append(said[0]))

    def _tokenizer(self, source: Path | None) -> Any:
        """Return the run's tokenizer: kept in its folder, at first the source's or trained anew."""
        from transformers import AutoTokenizer

        folder = self.run / "tokenizer"
        if self.team.leads and not (folder / "tokenizer.json").exists():
            shape = self.recipe.shape
            if source is not None:
                save_tokenizer(AutoTokenizer.from_pretrained(source), folder)
            else:
                count = 20000 if shape.vocab > 1024 else 300
                train_tokenizer(folder, shape.vocab, self.recipe.seed, count, shape.context)
        self.team.wait()
        return AutoTokenizer.from_pretrained(folder)

    def _load(self) -> None:
        state = torch.load(self.run / "checkpoint.pt", map_location=self.machine.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.progress = Progress(**state["progress"])

    def save(self) -> None:
        """Write the checkpoint (in one move, so that a kill never leaves half a file)."""
        if not self.team.leads:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "progress": self.progress.state(),
        }
        part = self.run / "checkpoint.part"
        torch.save(state, part)
        part.replace(self.run / "checkpoint.pt")

    @property
    def done(self) -> bool:
        """Whether every stage is done."""
        return self.progress.done(self.recipe)

    def _logits(self, model: Any, batch: Batch, at_M: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.machine.device, dtype=torch.bfloat16, enabled=self.machine.autocast):
            states_NW = self._states(model, batch.ids_N, batch.position_N, batch.starts_D)
            logits_MV: torch.Tensor = model.lm_head(states_NW[at_M])
        return logits_MV

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of the recipe: cross-entropy, mixed with what distillation and experts ask for."""
        batch = batch.to(self.machine.device)
        at_M = counted(batch)
        self._routed.clear()
        logits_MV = self._logits(self.model, batch, at_M)
        losses_M = token_losses(logits_MV, batch, at_M)
        if self.teacher is not None:
            with torch.no_grad():
                wanted_MV = self._logits(self.teacher, batch, at_M)
            share = self.recipe.imitation
            losses_M = (1 - share) * losses_M + share * divergences(logits_MV, wanted_MV)
        loss = weighted_mean(losses_M, batch, at_M)
        if self._routed:
            loss = loss + self.recipe.balance * imbalance(self._routed, self.recipe.shape.top_k)
        return loss

    def train_step(self, batch: Batch, began: float | None = None) -> float:
        """Take one optimiser step and return its loss; its time counts from ``began``, or from now."""
        began = time.perf_counter() if began is None else began
        progress, stage = self.progress, self.recipe.stages[self.progress.stage]
        share = progress.share(self.recipe, self.minutes)
        rate = learning_rate(stage, share, progress.step, self.recipe.warmup)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        seconds = self.team.agree(time.perf_counter() - began)
        progress.advance(self.recipe, seconds, self.minutes, self.team.size)
        return value

    def _feed(self) -> Iterator[Batch]:
        """Yield the batches of the rest of the present stage."""
        stage, number = self.recipe.stages[self.progress.stage], self.progress.stage
        first, workers = self.progress.step, self.machine.workers
        for batch in batches(self.tokenizer, self.recipe, stage, first, workers, self.team):
            yield batch
            if self.progress.stage != number:
                return

    def fit(self, report: Callable[[float], bool] = lambda loss: False) -> list[float]:
        """Train to the end and save; return the losses of the steps taken by this call.

        Args:
            report: called after every step with its loss; the run stops where it returns True.
        """
        losses: list[float] = []
        stop = False
        while not (self.done or stop):
            began = time.perf_counter()
            for batch in self._feed():
                losses.append(self.train_step(batch, began))
                stop = bool(self.team.agree(report(losses[-1])))
                if stop:
                    break
                began = time.perf_counter()
        self.save()
        return losses

    def export(self, folder: Path) -> None:
        """Write the model as an ordinary Hugging Face folder (bf16)."""
        if not self.team.leads:
            return
        export_model(self.model, self.tokenizer, folder)
