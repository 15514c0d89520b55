"""Training: pure batches, a run that continues as if it had never stopped, recipes in seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from penstock.zoo.packing import make_batch
from penstock.zoo.recipes import CHAT, RECIPES, Stage, smoke
from penstock.zoo.team import Team
from penstock.zoo.train import main
from penstock.zoo.trainer import Machine, Trainer

torch.set_num_threads(1)

SMOKE = replace(
    smoke(CHAT), stages=(Stage(4, 64, 6, 3.0e-3, 1.0e-3), Stage(2, 128, 4, 1.0e-3, 1.0e-4)), warmup=2
)


@pytest.fixture(scope="module")
def tokenizer_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("tokenizer")
    Trainer(SMOKE, run)
    return run


def _trainer(run: Path, source: Path, **options: object) -> Trainer:
    """Make a trainer in ``run`` with the tokenizer of ``source`` (training one takes a second)."""
    target = run / "tokenizer"
    if not target.exists():
        target.mkdir(parents=True)
        for path in (source / "tokenizer").iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    return Trainer(SMOKE, run, **options)  # type: ignore[arg-type]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, tokenizer_run: Path) -> None:
    whole = _trainer(tmp_path / "whole", tokenizer_run)
    losses = whole.fit()
    assert whole.done and len(losses) == SMOKE.steps

    first = _trainer(tmp_path / "parts", tokenizer_run)
    head = first.fit(lambda loss: first.progress.step == 7)
    second = _trainer(tmp_path / "parts", tokenizer_run)
    assert (second.progress.step, second.progress.stage, second.progress.taken) == (7, 1, 1)
    tail = second.fit()
    assert head + tail == losses
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_batches_made_ahead_by_a_process_are_the_same(tmp_path: Path, tokenizer_run: Path) -> None:
    from penstock.zoo.feed import batches

    trainer = _trainer(tmp_path, tokenizer_run)
    ahead = list(batches(trainer.tokenizer, SMOKE, SMOKE.stages[1], 6, workers=1))
    here = [make_batch(trainer.tokenizer, SMOKE, SMOKE.stages[1], step) for step in range(6, 10)]
    assert len(ahead) == len(here)
    assert all(torch.equal(one.ids_N, two.ids_N) for one, two in zip(ahead, here, strict=True))


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_lowers_its_loss_in_smoke_form(name: str, tmp_path: Path, capsys, monkeypatch) -> None:
    words = ["--model", name, "--smoke", "--quiet", "--workers", "0", "--run", str(tmp_path / "run")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.95 * losses[0]
    assert "done" in capsys.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.dtype is torch.bfloat16
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()


def test_a_run_with_no_time_left_still_visits_every_stage(tmp_path: Path, tokenizer_run: Path) -> None:
    trainer = _trainer(tmp_path, tokenizer_run, minutes=1e-6)
    assert len(trainer.fit()) == len(SMOKE.stages)
    assert trainer.done


def test_processes_that_train_together_average_their_gradients(tmp_path: Path, monkeypatch) -> None:
    """Two processes with a batch each do what one does with the mean of both gradients."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ["--model", "draft", "--smoke", "--quiet", "--workers", "0", "--fp32", "--minutes", "1e-6"]
    assert main([*words, "--processes", "2", "--run", str(tmp_path / "two")]) == 0
    found = torch.load(tmp_path / "two" / "checkpoint.pt", weights_only=True)
    assert found["progress"]["tokens"] == 2 * sum(stage.batch for stage in smoke(RECIPES["draft"]).stages)

    alone = Trainer(smoke(RECIPES["draft"]), tmp_path / "one", Machine(autocast=False), minutes=1e-6)
    alone.team = _Both(alone)
    alone.fit()
    for name, weight in alone.model.state_dict().items():
        assert torch.allclose(weight, found["model"][name], atol=1e-5), name


class _Both(Team):
    """A team of one that takes the batches of both."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(0, 1)
        self._trainer = trainer

    def average(self, parameters) -> None:
        trainer, step = self._trainer, self._trainer.progress.step
        stage = trainer.recipe.stages[trainer.progress.stage]
        trainer.model.zero_grad()
        for number in (2 * step, 2 * step + 1):
            batch = make_batch(trainer.tokenizer, trainer.recipe, stage, number)
            (trainer.loss(batch) / 2).backward()
