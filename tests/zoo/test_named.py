"""A shipped model is served by its name; a folder of that name goes first, other names stay what they are."""

from pathlib import Path

import pytest

from penstock.config.settings import Config, ModelConfig
from penstock.frontend.model import load_tokenizer, model_name, served_name
from penstock.runtime.resolve import gather_facts
from penstock.zoo import bundled_model_path, named_model


@pytest.mark.parametrize("name", ["", "penstock-chat", "chat"])
def test_a_shipped_model_goes_by_its_name(name: str) -> None:
    assert named_model(name) == str(bundled_model_path("penstock-chat"))
    config = Config(model=ModelConfig(model=name))
    assert model_name(config) == named_model(name) and served_name(config) == "penstock-chat"
    assert gather_facts(config).folder == bundled_model_path()
    assert load_tokenizer(config).encode("hi", add_special_tokens=False)


def test_other_names_stay_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("owner/chat", "./chat", "/models/chat", "no-such-model"):
        assert named_model(name) == name
    (tmp_path / "chat").mkdir()
    monkeypatch.chdir(tmp_path)
    assert named_model("chat") == "chat"
