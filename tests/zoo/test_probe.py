"""The glance at held-out questions, and what a run notes of itself."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch

from penstock.zoo import attention, bundled_model_path
from penstock.zoo.export import build_model, load_model
from penstock.zoo.probe import Probe
from penstock.zoo.recipes import CHAT, smoke
from penstock.zoo.train import Logbook
from penstock.zoo.trainer import Trainer

torch.set_num_threads(1)


def test_a_trained_model_is_exact_where_a_fresh_one_is_not() -> None:
    from transformers import AutoTokenizer

    attention.register()
    tokenizer = AutoTokenizer.from_pretrained(bundled_model_path())
    probe = Probe(tokenizer, ["facts"], 200, questions=6)
    readings = []
    for model in (load_model(bundled_model_path()), build_model(smoke(replace(CHAT, teacher="any")).shape)):
        model.set_attn_implementation(attention.NAME)
        readings.append(probe.read(model, autocast=False)["facts"])
    trained, fresh = readings
    assert trained.exact >= 0.5 and trained.loss < 1
    assert fresh.exact == 0 and fresh.loss > 5


def test_sigterm_stops_a_run_between_steps_and_saves_it(tmp_path: Path) -> None:
    trainer = Trainer(smoke(CHAT), tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    with Logbook(trainer, quiet=True, probe_minutes=0) as logbook:

        def report(loss: float) -> bool:
            if trainer.progress.step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return logbook(loss)

        assert len(trainer.fit(report)) == 3
    assert signal.getsignal(signal.SIGTERM) == before
    assert not trainer.done
    assert Trainer(smoke(CHAT), tmp_path).progress.step == 3


def test_probes_are_written_to_the_log(tmp_path: Path) -> None:
    recipe = smoke(CHAT)
    stages = (replace(recipe.stages[0], steps=2, mix={"yesno": 1.0, "facts": 1.0}),)
    trainer = Trainer(replace(recipe, stages=stages), tmp_path)
    with Logbook(trainer, quiet=True, probe_minutes=1e-9) as logbook:
        trainer.fit(logbook)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [sorted(row["probe"]) for row in rows if "probe" in row] == [["facts", "yesno"]]
    assert [row["stage"] for row in rows if "loss" in row] == [0]
