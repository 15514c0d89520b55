"""Training adapters on a tiny base: the loss falls, the folder is PEFT's, merging is base plus delta."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("peft", reason="needs penstock[train]")

from transformers import AutoTokenizer, LlamaForCausalLM

from penstock.zoo import BUNDLED_MODEL, bundled_model_path
from penstock.zoo.adapters import ADAPTERS, shipped_adapters
from penstock.zoo.adapters.batches import lessons
from penstock.zoo.adapters.evaluate import evaluate, table
from penstock.zoo.adapters.export import base_digest, note_score, read_record
from penstock.zoo.adapters.merge import deltas, merged
from penstock.zoo.adapters.train import learning_rate, main, train_adapter
from penstock.zoo.export import build_model
from penstock.zoo.recipes import CHAT
from penstock.zoo.train import main as train_zoo

torch.set_num_threads(1)

TINY = replace(CHAT.shape, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, intermediate=48)
NAME = "numbers-german"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights and the real tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    model = build_model(TINY)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(20)  # logits of a trained model's size: something to learn
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bundled_model_path()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An adapter after a few steps, with its training record."""
    folder = tmp_path_factory.mktemp("adapters") / NAME
    adapter = replace(ADAPTERS[NAME], steps=12, rows=4, rate=3e-2)
    return folder, train_adapter(adapter, base, folder, rounds=1)


def test_training_lowers_the_loss(trained: tuple[Path, dict[str, Any]]) -> None:
    record = trained[1]
    assert record["steps"] == 12
    assert record["loss_last"] < 0.9 * record["loss_first"]


def test_the_folder_has_the_names_and_shapes_of_peft(
    base: Path, trained: tuple[Path, dict[str, Any]]
) -> None:
    folder, adapter = trained[0], ADAPTERS[NAME]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", adapter.rank, adapter.alpha)
    assert config["target_modules"] == sorted(adapter.targets), (
        "sorted, so that training twice gives the same file"
    )
    assert config["base_model_name_or_path"] == BUNDLED_MODEL
    assert str(base) not in "".join(
        path.read_text() for path in folder.iterdir() if path.suffix != ".safetensors"
    )
    weights = load_file(folder / "adapter_model.safetensors")
    assert len(weights) == 2 * TINY.layers * len(adapter.targets)
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    stem = "base_model.model.model.layers.1.mlp.down_proj"
    assert weights[f"{stem}.lora_A.weight"].shape == (adapter.rank, TINY.intermediate)
    assert weights[f"{stem}.lora_B.weight"].shape == (TINY.hidden, adapter.rank)


def test_merging_equals_what_peft_computes(base: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    from peft import PeftModel

    plain = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    ids = torch.arange(20, 36)[None]
    with torch.inference_mode():
        before = plain(ids).logits
        ours = merged(plain, trained[0])(ids).logits
        assert torch.equal(plain(ids).logits, before), "merging must leave the base as it was"
        peft = PeftModel.from_pretrained(plain, trained[0])
        theirs = peft(ids).logits
        in_place = peft.merge_and_unload()(ids).logits
    assert (theirs - before).abs().max() > 1e-3
    assert torch.allclose(ours, theirs, atol=1e-4)
    assert torch.allclose(ours, in_place, atol=1e-4)


def test_only_plain_lora_is_merged(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    with pytest.raises(ValueError, match="only plain LoRA"):
        deltas(tmp_path)


def test_the_same_seed_gives_the_same_adapter(base: Path, tmp_path: Path) -> None:
    adapter = replace(ADAPTERS["pirate"], steps=3, rows=2)
    for name in ("first", "second"):
        train_adapter(adapter, base, tmp_path / name, rounds=1)
    first, second = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "second"))
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random model does not stop by itself: ask it little, and cut it short."""
    monkeypatch.setattr("penstock.zoo.adapters.train._VALIDATION", 4)
    monkeypatch.setattr("penstock.zoo.adapters.evaluate.ROOM", 12)


@pytest.mark.usefixtures("few_words")
def test_a_missed_manner_is_trained_again(base: Path, tmp_path: Path) -> None:
    adapter = replace(ADAPTERS["pirate"], steps=5, rows=2)
    record = train_adapter(adapter, base, tmp_path / "pirate", rounds=2)
    assert record["steps"] == 10 and record["validation"] < 0.5
    assert learning_rate(adapter, 4) < learning_rate(adapter, 5 + 4 - 1) < adapter.rate


def test_lessons_learn_what_the_assistant_says_and_nothing_else(base: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    adapter = ADAPTERS["pirate"]
    lesson = next(lessons(tokenizer, adapter, 1))
    assert lesson.ids_RT.shape[0] == adapter.rows
    assert not (lesson.labels_RT[lesson.mask_RT == 0] >= 0).any()
    for ids, labels in zip(lesson.ids_RT, lesson.labels_RT, strict=True):
        said = tokenizer.decode(labels[labels >= 0]).removesuffix("<|end|>")
        assert all(adapter.manner.check(answer) for answer in said.split("<|end|>"))
        assert torch.equal(ids[labels >= 0], labels[labels >= 0])


@pytest.mark.usefixtures("few_words")
def test_the_command_trains_what_is_missing_and_scores_it(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--smoke", "--only", "pirate", "--base", str(base), "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "fell" in capsys.readouterr().out
    assert list(shipped_adapters(tmp_path)) == ["pirate"]
    assert read_record(tmp_path / "pirate")["base"] == base_digest(base)
    made = (tmp_path / "pirate" / "adapter_model.safetensors").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (tmp_path / "pirate" / "adapter_model.safetensors").stat().st_mtime_ns == made
    (score,) = evaluate(base, tmp_path, questions=4)
    assert (score.adapter, score.rank, score.questions, score.passed) == ("pirate", 4, 4, False)
    assert table([score]).row_count == 1
    assert "None yet" in (tmp_path / "pirate/README.md").read_text()
    note_score(tmp_path / "pirate", ADAPTERS["pirate"], score)
    text = (tmp_path / "pirate/README.md").read_text()
    assert f"{100 * score.on:.0f} % of the answers with the adapter on" in text and "None yet" not in text
    assert all(f"**{part}.**" in text for part in ("Training", "Evaluation", "Limits", "Licence"))
    assert read_record(tmp_path / "pirate")["score"]["questions"] == 4
    with pytest.raises(KeyError, match=r"no adapters \['bold'\]"):
        evaluate(base, tmp_path, only=["bold"])


def test_the_zoo_trains_adapters_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train_zoo(["--model", "adapters", "--only", "nobody"])
    assert "invalid choice: 'nobody'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        train_zoo(["--model", "adapters", "--smoke"])
    assert "--smoke needs --out" in capsys.readouterr().err
