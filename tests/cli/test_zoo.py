"""``penstock zoo`` is thin: a catalogue, and words handed on to the zoo's own modules."""

import sys
import types

import pytest

from penstock.cli.main import main


def test_list_names_recipes_and_shipped_models(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["zoo", "list"]) == 0
    out = capsys.readouterr().out
    assert "penstock-chat" in out
    assert "smoke" in out


@pytest.mark.parametrize("tool", ["train", "eval", "chat"])
def test_tools_get_their_words_untouched(tool, monkeypatch):
    seen = []
    name = {"eval": "evaluate"}.get(tool, tool)
    fake = types.ModuleType(f"penstock.zoo.{name}")
    fake.main = lambda words: seen.append(words) or 7
    monkeypatch.setitem(sys.modules, f"penstock.zoo.{name}", fake)
    words = ["folder", "--recipe", "chat", "--minutes", "1", "--help"]
    assert main(["zoo", tool, *words]) == 7
    assert seen == [words]


def test_unknown_tool_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["zoo", "trian"])
    assert stop.value.code == 2
    assert "unknown verb 'trian'; did you mean train?" in capsys.readouterr().err
