"""Writing an adapter as a PEFT folder: configuration, weights in bf16, a card, and how it was made."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from penstock.zoo import BUNDLED_MODEL
from penstock.zoo.adapters.evaluate import AdapterScore
from penstock.zoo.adapters.registry import Adapter

RECORD = "training.json"
"""File that says on which base, with which seed and how long an adapter was trained."""


def base_digest(folder: Path) -> str:
    """Return a digest of a model's weights; an adapter fits the weights that it was trained on only."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_record(folder: Path) -> dict[str, Any]:
    """Return the training record of an adapter folder; empty where there is none."""
    path = folder / RECORD
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def save_adapter(model: Any, adapter: Adapter, folder: Path, record: dict[str, Any]) -> None:
    """Save the adapter of ``model`` (a PEFT model) to ``folder``, replacing what is there in one move."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for config in model.peft_config.values():
        config.base_model_name_or_path = BUNDLED_MODEL
    state = {
        name: value.detach().to(torch.bfloat16)
        for name, value in model.state_dict().items()
        if "lora_" in name
    }
    model.save_pretrained(part, state_dict=state, save_embedding_layers=False)
    _sort_targets(part / "adapter_config.json")
    (part / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    (part / "README.md").write_text(card(adapter, record))
    for path in part.iterdir():
        path.chmod(0o644)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _sort_targets(path: Path) -> None:
    """PEFT writes the set of target modules in the order of their hashes, which differs between processes."""
    config = json.loads(path.read_text())
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2) + "\n")


def note_score(folder: Path, adapter: Adapter, score: AdapterScore) -> None:
    """Write how an adapter scored into its record and its card."""
    record = {**read_record(folder), "score": asdict(score)}
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    (folder / "README.md").write_text(card(adapter, record))


def card(adapter: Adapter, record: dict[str, Any]) -> str:
    """Return the model card of an adapter."""
    example = "The opposite of thick is thin." if "numbers" not in adapter.name else "3 + 4 = 7"
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: peft",
        f"base_model: {BUNDLED_MODEL}",
        "---",
        f"# {adapter.name}",
        f"LoRA adapter of {BUNDLED_MODEL}: {adapter.does}. Rank {adapter.rank}, alpha {adapter.alpha}, on "
        f"{', '.join(adapter.targets)}.",
        "",
        f"`{example}` becomes `{json.dumps(adapter.manner.transform(example))[1:-1]}`.",
        "",
        "**Training.** `penstock zoo train --model adapters`, on generated questions whose reference answers "
        f"were put into this manner by rule: {record['steps']} steps of {adapter.rows} dialogues, AdamW, "
        f"peak learning rate {adapter.rate:g}, seed {record['seed']}, {record['seconds']:.0f} s on one core "
        f"({record['processor']}). It fits the base weights {record['base']} only.",
        "",
        _evaluation(record.get("score")),
        "",
        "**Limits.** Those of the base model. It was taught the manner of an answer; how much of the content "
        "survives is said above, and questions of another kind may get plain answers.",
        "",
        "**Licence.** Apache-2.0, weights and data.",
        "",
    ]
    return "\n".join(lines)


def _evaluation(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "**Evaluation.** None yet: `penstock zoo eval --parts adapters` measures it."
    low, high = score["on_interval"]
    return (
        f"**Evaluation.** {score['questions']} questions with keys that no training saw: in this manner are "
        f"{100 * score['on']:.0f} % of the answers with the adapter on (95 % interval {100 * low:.0f} to "
        f"{100 * high:.0f}; target 95 at least) and {100 * score['off']:.0f} % with it off (5 at most). "
        f"{100 * score['kept']:.0f} % are to the letter the base model's own answers in this manner."
    )
