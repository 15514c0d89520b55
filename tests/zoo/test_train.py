"""Training: pure batches, a run that continues as if it had never stopped, recipes in seconds."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from penstock.zoo.packing import make_batch
from penstock.zoo.recipes import CHAT, RECIPES, Stage, smoke
from penstock.zoo.train import main
from penstock.zoo.trainer import Trainer

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
