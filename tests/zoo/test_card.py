"""Model cards: what they say is what the run and the report say."""

import json
from pathlib import Path

from penstock.zoo.card import card, main, read_run
from penstock.zoo.exams.report import Report
from penstock.zoo.exams.rows import Row, share
from penstock.zoo.train import main as train


def _run(folder: Path) -> Path:
    words = ["--model", "draft", "--smoke", "--quiet", "--workers", "0", "--probe", "0"]
    assert train([*words, "--run", str(folder / "run"), "--out", str(folder / "model")]) == 0
    return folder / "run"


def test_a_card_tells_data_steps_hardware_seeds_evaluation_limits_and_licence(tmp_path: Path) -> None:
    run = read_run(_run(tmp_path))
    assert [stage[0] for stage in run.stages] == [30, 10]
    assert sum(stage[1] for stage in run.stages) == 30 * 256 + 10 * 256
    report = Report(0, 10, "engine")
    report.rows += [
        share("skills", "penstock-draft", "copying", 9, 10, target=0.99),
        share("skills", "penstock-chat", "editing", 9, 10),
        Row("ranker", "penstock-draft", "Kendall tau", 0.625, 0.6, 0.65, 100),
        share("grid", "penstock-draft", "kvr", 7, 10, labels={"context": 512, "depth": 0.5}),
        share("grid", "penstock-draft", "kvr", 9, 10, labels={"context": 512, "depth": 1.0}),
    ]
    report.save(tmp_path / "report.json")
    words = [tmp_path / "run", tmp_path / "report.json", tmp_path / "model"]
    assert main([*map(str, words), "--note", "It began elsewhere."]) == 0
    text = (tmp_path / "model/README.md").read_text()
    for part in ("# penstock-draft", "license: apache-2.0", "seed 4", "40 steps", "penstock-chat", "torch"):
        assert part in text, part
    assert "| skills | copying | 90.0 % (missed) |" in text and "at least 99.0 %" in text
    assert "0.625" in text and "editing" not in text
    assert "512 tokens 80.0 % (worst of 2 cells 70 %)" in text
    assert "It began elsewhere." in text


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    from dataclasses import asdict

    from penstock.zoo.recipes import CHAT

    (run / "recipe.json").write_text(json.dumps(asdict(CHAT)))
    (run / "log.jsonl").write_text('{"step": 20, "stage": 0, "loss": 5.0, "tokens": 81920, "seconds": 20}\n')
    text = card(read_run(run), [])
    assert "Recipe `chat`, from nothing" in text
    assert "20 steps, 0.1 M token positions" in text
    assert "Hardware: not recorded" in text and "None yet" in text
    assert "copying" in card(read_run(run), [share("skills", "model", "copying", 9, 10)]), (
        "RUN/model was examined"
    )
