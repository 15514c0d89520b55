"""The embedder: its loss, a smoke run, and the exported folder in transformers and in the engine."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from penstock import LLM
from penstock.zoo.contrastive import SMOKE, Training, batches, contrast, main
from penstock.zoo.embedder import Embedder

torch.set_num_threads(1)
TEXTS = ["hi", "Who is the guard of the happy cabin?", "list five fruits " * 20, "count to 9"]


@pytest.fixture(scope="module")
def training() -> tuple[Training, list[float]]:
    run = Training(SMOKE)
    return run, run.fit(quiet=True)


def test_the_loss_is_that_of_telling_one_among_all_others() -> None:
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.nn.functional.normalize(torch.randn(5, 3, generator=generator)) for _ in range(2))
    alike = (one @ two.T / 0.1).exp()
    there = -(alike.diagonal() / alike.sum(1)).log().mean()
    back = -(alike.diagonal() / alike.sum(0)).log().mean()
    assert torch.allclose(contrast(one, two, 0.1), (there + back) / 2, atol=1e-5)
    assert contrast(one, one, 0.1) < contrast(one, two, 0.1)


def test_smoke_training_lowers_the_loss_and_repeats_itself(training) -> None:
    run, losses = training
    assert len(losses) == SMOKE.steps
    unseen = list(itertools.islice(batches(replace(SMOKE, seed=9)), 6))
    before, after = (
        sum(float(one.loss(batch).detach()) for batch in unseen) for one in (Training(SMOKE), run)
    )
    assert after < 0.8 * before
    again = Training(SMOKE)
    few = [again.step(n, batch) for n, batch in enumerate(itertools.islice(batches(SMOKE), 3))]
    assert few == losses[:3]
    assert run.rate(0) < run.rate(SMOKE.warmup) > run.rate(SMOKE.steps - 1)


def test_batches_hold_different_meanings() -> None:
    for batch in itertools.islice(batches(SMOKE), 6):
        assert len(batch) > 5
        assert len({pair.meaning for pair in batch}) == len(batch)


def test_vectors_are_means_of_hidden_states_whatever_stands_beside(training) -> None:
    embedder = training[0].embedder
    found = embedder(TEXTS * 20)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for i, text in enumerate(TEXTS):
        ids = torch.tensor([embedder.tokenizer.encode(text)])
        with torch.inference_mode():
            mean = embedder.model.model(input_ids=ids).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(found[i], (mean / mean.norm()).numpy(), atol=1e-5)
        np.testing.assert_allclose(found[i + 40], found[i], atol=1e-6)


def test_the_command_writes_a_folder_that_the_engine_serves_alike(tmp_path: Path) -> None:
    out, report = tmp_path / "embedder", tmp_path / "scores.json"
    assert main(["--smoke", "--out", str(out), "--json", str(report)]) == 0
    scores = json.loads(report.read_text())
    assert set(scores) == {"embedder", "words (TF-IDF)", "random weights"}
    assert all(
        len(rows) == 3 and 0 <= row["first"] <= row["five"] <= 1 for rows in scores.values() for row in rows
    )
    card = (out / "README.md").read_text()
    assert "license: apache-2.0" in card and f"{100 * scores['embedder'][0]['first']:.1f} %" in card
    with LLM(str(out), dtype="float32") as llm:
        np.testing.assert_allclose(np.array(llm.embed(TEXTS)), Embedder.load(out)(TEXTS), atol=2e-5)
