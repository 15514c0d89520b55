"""``penstock zoo`` is thin: a catalogue, and words handed on to the zoo's own modules."""

import sys
import types

import pytest

from penstock.cli.main import main
from penstock.cli.zoo import _room
from penstock.zoo import bundled_model_path
from penstock.zoo.exams import command


def test_list_names_models_adapters_and_what_makes_them(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["zoo", "list"]) == 0
    out = capsys.readouterr().out
    for text in (
        "penstock-chat",
        "the default of the server",
        "made by zoo train --model",
        "pirate",
        "rank 4",
    ):
        assert text in out


@pytest.mark.parametrize("tool", ["train", "chat"])
def test_tools_get_their_words_untouched(tool, monkeypatch):
    seen = []
    fake = types.ModuleType(f"penstock.zoo.{tool}")
    fake.main = lambda words, *above: seen.append(words) or 7
    monkeypatch.setitem(sys.modules, f"penstock.zoo.{tool}", fake)
    words = ["folder", "--model", "chat", "--minutes", "1", "--help"]
    assert main(["zoo", tool, *words]) == 7
    assert seen == [words]


def test_eval_takes_the_engine_unless_told_otherwise(monkeypatch):
    rooms = []
    monkeypatch.setattr(command, "run", lambda args, room: rooms.append((args.quick, room.name)))
    assert main(["zoo", "eval", "--quick"]) == 0
    assert main(["zoo", "eval", "--reference"]) == 0
    assert rooms == [(True, "engine"), (False, "transformers")]
    assert (_room(False, []).name, _room(True, []).name) == ("engine", "transformers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["quantization"], "--with: expected SETTING=VALUE, got 'quantization'"),
        (["quantizatoin=int8"], "quantizatoin: no such setting; did you mean 'quantization'?"),
        (["quantization=int3"], "quantization: expected one of none, int8, int4, got 'int3'"),
    ],
)
def test_settings_of_the_engine_that_make_no_sense_are_one_line(words, said, capsys):
    assert (
        main(["zoo", "eval", "--model", "chat", "--skills", "facts", "--questions", "1", "--with", *words])
        == 2
    )
    err = capsys.readouterr().err.strip()
    assert said in err and "\n" not in err


def test_settings_reach_the_engine_and_the_report():
    room = _room(False, ["kv-cache-dtype=int8", "quantization=int8"])
    assert room.name == "engine, kv_cache_dtype=int8, quantization=int8"
    model = room.open(bundled_model_path())
    assert model.settings.cache.kv_cache_dtype == model.settings.model.quantization == "int8"
    model.close()


def test_a_flag_of_eval_that_makes_no_sense_is_one_line(capsys):
    assert main(["zoo", "eval", "--skills", "juggling"]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("penstock: --skills: unknown skills ['juggling']") and "\n" not in err


def test_unknown_tool_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["zoo", "trian"])
    assert stop.value.code == 2
    assert "unknown verb 'trian'; did you mean train?" in capsys.readouterr().err
