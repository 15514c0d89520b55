"""Training: pure batches, schedules, and a run that continues as if it had never stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from penstock.zoo.packing import make_batch, token_weights
from penstock.zoo.recipes import RECIPES, SMOKE
from penstock.zoo.train import Trainer, learning_rate, main, stage_of, weighted_loss

torch.set_num_threads(1)


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
    losses = whole.fit(quiet=True)
    assert whole.done and len(losses) == SMOKE.steps

    first = _trainer(tmp_path / "parts", tokenizer_run)
    head = [first.train_step() for _ in range(7)]
    first.save()
    second = _trainer(tmp_path / "parts", tokenizer_run)
    assert second.step == 7
    tail = second.fit(quiet=True)
    assert head + tail == losses
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name


def test_training_lowers_the_loss(tmp_path: Path, tokenizer_run: Path) -> None:
    recipe = replace(SMOKE, stages=(replace(SMOKE.stages[0], steps=60, peak=1e-2),))
    trainer = _trainer(tmp_path, tokenizer_run)
    trainer.recipe = recipe
    losses = trainer.fit(quiet=True)
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_batches_are_a_function_of_seed_and_step(tokenizer_run: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_run / "tokenizer")
    stage = SMOKE.stages[0]
    first, again = (make_batch(tokenizer, SMOKE, stage, 3) for _ in range(2))
    other = make_batch(tokenizer, replace(SMOKE, seed=2), stage, 3)
    assert torch.equal(first.ids_RT, again.ids_RT)
    assert not torch.equal(first.ids_RT, other.ids_RT)
    assert first.ids_RT.shape == (stage.rows, stage.length)
    starts = first.position_RT == 0
    assert torch.equal(first.ids_RT[starts], torch.full((int(starts.sum()),), tokenizer.bos_token_id))
    assert (first.weight_RT[starts] == 0).all()


def test_decisions_weigh_more_than_what_follows_from_them() -> None:
    short = token_weights([False] * 3 + [True] * 6 + [False] * 2, 0.1)
    assert short[:3] == [0.0, 0.1, 0.1] and short[-2:] == [0.1, 0.1]
    first, second, third, *last = short[3:9]
    assert last == [first] * 3 and first > second == third > 0.1
    long = token_weights([False] * 3 + [True] * 100, 0.1)
    assert long[50] < second and long[3] < first
    two = token_weights([False, True, True, True, True, True, False, True], 0.1)
    assert two[1] > two[2] and two[6] == 0.1 and two[7] > 1


def test_packed_documents_do_not_see_each_other(tmp_path: Path, tokenizer_run: Path) -> None:
    trainer = _trainer(tmp_path, tokenizer_run)
    batch = make_batch(trainer.tokenizer, SMOKE, SMOKE.stages[1], 1)
    second = batch.document_RT == 1
    assert second.any(), "the seed must give a row with two documents"
    only = replace(batch, weight_RT=batch.weight_RT * second)
    changed = only.ids_RT.clone()
    changed[batch.document_RT == 0] = 20
    same = weighted_loss(trainer.model, replace(only, ids_RT=changed), autocast=False)
    assert torch.allclose(weighted_loss(trainer.model, only, autocast=False), same, atol=1e-5)


def test_stages_and_learning_rate() -> None:
    first, second = SMOKE.stages
    assert stage_of(SMOKE, 0) == (first, 0)
    assert stage_of(SMOKE, first.steps) == (second, 0)
    with pytest.raises(ValueError, match=r"ends after 10 steps"):
        stage_of(SMOKE, SMOKE.steps)
    assert learning_rate(SMOKE, 0) == pytest.approx(first.peak / SMOKE.warmup)
    assert learning_rate(SMOKE, first.steps) == pytest.approx(second.peak)
    rates = [learning_rate(RECIPES["chat"], step) for step in range(100, RECIPES["chat"].stages[0].steps)]
    assert rates == sorted(rates, reverse=True)


def test_the_command_line_trains_and_exports_a_loadable_folder(tmp_path: Path) -> None:
    assert main(["--recipe", "smoke", "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.dtype is torch.bfloat16
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
