"""What the zoo says it holds is what lies there."""

import json

import pytest
from safetensors.torch import load_file

from penstock.zoo import bundled_model_path, shelf
from penstock.zoo.adapters import ADAPTERS
from penstock.zoo.recipes import RECIPES


def test_weights_are_counted_without_loading_them():
    file = bundled_model_path() / "model.safetensors"
    assert shelf.parameters_in(file) == sum(weight.numel() for weight in load_file(file).values())


def test_every_recipe_and_helper_stands_on_the_shelf_with_its_command():
    found = list(shelf.models())
    assert [item.recipe for item in found[: len(RECIPES)]] == list(RECIPES)
    assert {"ranker", "embedder"} <= {item.name for item in found}
    assert all(item.purpose for item in found)
    chat = next(item for item in found if item.name == "penstock-chat")
    size = sum(path.stat().st_size for path in bundled_model_path().iterdir())
    assert (chat.parameters, chat.size) == (
        shelf.parameters_in(bundled_model_path() / "model.safetensors"),
        size,
    )


def test_what_is_not_shipped_has_no_size(monkeypatch):
    def nothing(name="penstock-chat"):
        raise FileNotFoundError(name)

    monkeypatch.setattr(shelf, "bundled_model_path", nothing)
    ranker = next(item for item in shelf.models() if item.name == "ranker")
    assert (ranker.size, ranker.parameters) == (None, None)


def test_adapters_are_all_there_and_measured(monkeypatch, tmp_path):
    name = next(iter(ADAPTERS))
    (tmp_path / "adapter_config.json").write_text(json.dumps({}))
    monkeypatch.setattr(shelf, "shipped_adapters", lambda: {name: tmp_path})
    found = {item.name: item for item in shelf.adapters()}
    assert list(found) == list(ADAPTERS)
    assert found[name].size == 2
    assert {item.size for item in found.values()} == {2, None}
    assert found[name].purpose == f"{ADAPTERS[name].does} (rank {ADAPTERS[name].rank})"
    assert found[name].recipe == f"adapters --only {name}"


@pytest.mark.parametrize("item", list(shelf.models()), ids=lambda item: item.recipe)
def test_commands_name_models_that_can_be_trained(item, capsys):
    from penstock.cli.main import main

    with pytest.raises(SystemExit) as stop:
        main(["zoo", "train", "--model", *item.recipe.split(), "--help"])
    assert stop.value.code == 0
