"""A whole evaluation without a model: what is held for whom, what is missing, how it is shown and saved."""

import argparse
import io
import json
import sys

import numpy as np
import pytest
from rich.console import Console

from penstock.zoo import bundled_model_path
from penstock.zoo.exams import plan as plans
from penstock.zoo.exams.command import plan_of, run
from penstock.zoo.exams.flags import FlagError, add_flags
from penstock.zoo.exams.parts import FEW, OF_CHAT, PARTS, QUESTIONS
from penstock.zoo.exams.plan import Plan, Run, model_folder
from penstock.zoo.exams.rows import Row
from tests.zoo.exams.oracle import Oracle


class Room:
    """Opens oracles."""

    name = "oracles"

    def __init__(self):
        self.opened = []

    def open(self, folder, adapter=None):
        self.opened.append((folder.name, adapter and adapter.name))
        oracle = Oracle("Yes.", context=256)
        oracle.name = folder.name
        return oracle

    def open_encoder(self, folder):
        class Letters:
            def vectors(self, texts):
                rows = [[text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz "] for text in texts]
                found = np.array(rows, dtype=np.float32) + 0.01
                return found / np.linalg.norm(found, axis=1, keepdims=True)

            def close(self):
                pass

        return Letters()

    def ranker_rows(self, folder, questions, seed, replies):
        return [Row("ranker", folder.name, "Kendall tau", 0.7, 0.6, 0.8, questions, target=0.6)]


def options(*words):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(words)


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """Make the run see these models as shipped, and one adapter."""
    folders = {}

    def path(name="penstock-chat"):
        if name not in folders:
            raise FileNotFoundError(f"no bundled model named {name!r}")
        return folders[name]

    def ship(*names):
        for name in names:
            folders[name] = tmp_path / name
        return folders

    monkeypatch.setattr(plans, "bundled_model_path", path)
    monkeypatch.setattr(plans, "shipped_adapters", lambda: {"pirate": tmp_path / "pirate"})
    ship("penstock-chat")
    return ship


def test_the_default_plan_is_the_whole_zoo():
    plan = plan_of(options())
    assert (plan.models, plan.parts, plan.questions) == ([], PARTS, QUESTIONS)
    assert plan_of(options("--quick")).questions == FEW
    assert plan_of(options("--skills", "lists")).parts == ("skills",)
    chosen = plan_of(options("--model", "chat"))
    assert (chosen.models, chosen.parts) == ([bundled_model_path()], OF_CHAT)


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        ("--skills juggling", "--skills"),
        ("--skills lists --parts grid", "--parts"),
        ("--model nowhere", "--model"),
        ("--model chat --parts draft", "--parts"),
        ("--questions 0", "--questions"),
        ("--parts skills --plot x.png", "--plot"),
    ],
)
def test_flags_that_make_no_sense_are_named(words, flag):
    with pytest.raises(FlagError) as raised:
        plan_of(options(*words.split()))
    assert raised.value.flag == flag


def test_plotting_without_matplotlib_is_refused_before_anything_runs(monkeypatch):
    monkeypatch.setattr("penstock.zoo.exams.command.find_spec", lambda name: None)
    with pytest.raises(FlagError, match="penstock\\[plot\\]"):
        plan_of(options("--plot", "x.png"))


def test_a_folder_and_a_short_name_are_models():
    assert model_folder("chat") == model_folder("penstock-chat") == bundled_model_path()
    assert model_folder(str(bundled_model_path())) == bundled_model_path()


def test_what_is_not_shipped_is_said_and_the_rest_is_held(shipped):
    report = Run(Plan(questions=4), Room(), lambda what: None).hold()
    missing = {"draft", "ranker", "embedder", "penstock-small", "penstock-moe"}
    assert report.missing == dict.fromkeys(missing, "not shipped")
    assert {row.part for row in report.rows} == {*OF_CHAT, "adapters", "models"}


def test_everything_shipped_is_examined(shipped):
    shipped("penstock-draft", "penstock-small", "penstock-moe", "ranker", "embedder")
    room = Room()
    report = Run(Plan(questions=2), room, lambda what: None).hold()
    assert report.missing == {}
    assert {row.part for row in report.rows} == {*PARTS, "models"}
    assert [row.model for row in report.of("models")] == ["penstock-chat", "penstock-small", "penstock-moe"]
    assert [(row.name, row.labels["on"], row.bound) for row in report.of("adapters")] == [
        ("pirate", True, "at least"),
        ("pirate", False, "at most"),
    ]
    assert ("penstock-chat", "pirate") in room.opened
    assert all(report.seconds[f"penstock-chat: {part}"] >= 0 for part in OF_CHAT)
    keys = [(row.part, row.model, row.name, json.dumps(dict(row.labels))) for row in report.rows]
    assert len(keys) == len(set(keys))


def test_a_run_prints_saves_and_draws(shipped, tmp_path):
    words = ("--questions", "5", "--parts", "skills", "grid", "controls", "adapters", "ranker", "--failures")
    paths = ("--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png"))
    console = Console(width=100, record=True, file=io.StringIO())
    shipped("ranker")
    run(options(*words, *paths), Room(), console)
    text = console.export_text()
    for part in ("copying", "kvr at 256, worst depth", "depth 75%", "needle removed", "pirate", "0.700"):
        assert part in text
    assert "wanted" in text and "skill average" not in text
    assert "penstock-small: not shipped" in text
    assert json.loads((tmp_path / "r.json").read_text())["answerer"] == "oracles"
    assert (tmp_path / "r.png").stat().st_size > 10_000


def test_the_flags_load_nothing_heavy():
    import subprocess

    code = (
        "import sys, penstock.zoo.exams.flags;"
        "print(sorted({'torch', 'numpy', 'rich', 'penstock.zoo.data'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
