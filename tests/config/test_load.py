"""Files and overrides become a checked Config, or one error that names the field."""

import json

import msgspec
import pytest

from penstock.config.fields import all_fields, by_name
from penstock.config.load import load_config, to_dict
from penstock.config.settings import Config
from penstock.core.errors import ConfigError


def write(folder, name, text):
    path = folder / name
    path.write_text(text)
    return path


def test_nothing_given_is_the_defaults():
    assert load_config() == Config()


def test_toml_then_overrides(tmp_path):
    path = write(
        tmp_path, "a.toml", '[schedule]\nmax-num-seqs = 3\norder = "fcfs"\n[server]\napi_key=["a","b"]'
    )
    config = load_config(path, {"schedule.max_num_seqs": "7", "cache.memory_fraction": "0.25"})
    assert config.schedule.max_num_seqs == 7
    assert config.schedule.order == "fcfs"
    assert config.server.api_key == ("a", "b")
    assert config.cache.memory_fraction == 0.25


def test_json_file(tmp_path):
    path = write(tmp_path, "a.json", json.dumps({"model": {"dtype": "float32"}}))
    assert load_config(path).model.dtype == "float32"


def test_round_trip_of_all_fields(tmp_path):
    plain = msgspec.to_builtins(Config())
    assert {f"{section}.{name}" for section in plain for name in plain[section]} == set(by_name())
    path = write(tmp_path, "a.json", json.dumps(plain))
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("name", "text", "field", "says"),
    [
        (
            "a.toml",
            "[schedule]\nmax_num_seq = 3",
            "schedule.max_num_seq",
            "mean schedule.max_num_seqs?",
        ),
        ("a.toml", "[shedule]\nx = 3", "shedule", "did you mean schedule?"),
        ("a.toml", "schedule = 3", "schedule", "expected a table"),
        ("a.toml", "[schedule]\nmax_num_seqs = 0", "schedule.max_num_seqs", ">= 1 and <= 65536, got 0"),
        ("a.toml", "[schedule]\nmax_num_seqs = true", "schedule.max_num_seqs", "whole number"),
        ("a.toml", '[schedule]\nmax_num_seqs = "3"', "schedule.max_num_seqs", "whole number"),
        ("a.toml", "[cache]\nmemory_fraction = 1.5", "cache.memory_fraction", "> 0 and <= 1, got 1.5"),
        ("a.toml", "[cache]\nmemory_fraction = nan", "cache.memory_fraction", "> 0 and <= 1"),
        ("a.toml", '[model]\ndtype = "fp8"', "model.dtype", "one of auto, float32, bfloat16, float16"),
        ("a.toml", "[schedule", "config", "not valid TOML"),
        ("a.json", "[1]", "config", "one table per section"),
        ("a.json", "{", "config", "not valid JSON"),
        ("a.yaml", "", "config", "expected a .toml or .json file"),
    ],
)
def test_bad_files_name_the_field(tmp_path, name, text, field, says):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, name, text))
    assert caught.value.field == field
    assert says in caught.value.message
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml"):
        load_config(tmp_path / "none.toml")


def test_error_says_how_to_set_it():
    with pytest.raises(ConfigError, match=r"schedule.max_num_seqs: .* got '0'; set it with --max-num-seqs"):
        load_config(None, {"schedule.max_num_seqs": "0"})


def test_every_field_has_a_description_and_accepts_its_own_default():
    for field in all_fields():
        assert field.description, field.dotted
        assert field.convert(field.default) == field.default


def test_keys_are_masked():
    plain = to_dict(load_config(None, {"server.api_key": ["secret"]}))
    assert "secret" not in json.dumps(plain)
    assert plain["server"]["api_key"] == ["***"]
