"""Result files: where they go, what every one of them holds, and what must never be in them."""

import json
import math
import sys

import pytest

from penstock.bench.machine import command_line, machine, versions
from penstock.bench.report import details, envelope, result_path, write_result
from penstock.core.errors import ConfigError
from penstock.workload.metrics.records import Record


@pytest.mark.parametrize("key", [["--api-key", "hush"], ["--api-key=hush"], ["--server.api-key", "hush"]])
def test_keys_are_masked_in_the_command(monkeypatch, key):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/penstock", "bench", "serve", *key, "--seed", "1"])
    line = command_line()
    assert "hush" not in line
    assert line.startswith("penstock bench serve --")
    assert line.endswith("*** --seed 1")


def test_every_result_says_what_when_and_on_what():
    result = envelope("serve", {"seed": 1})
    assert set(result) == {"format", "kind", "date", "command", "settings", "versions", "machine"}
    assert result["versions"]["python"] == versions()["python"]
    assert result["machine"]["cores_usable"] >= 1
    assert machine()["memory_bytes"] > 2**20


def test_a_folder_gets_a_dated_file_and_a_name_is_kept(tmp_path):
    assert result_path(str(tmp_path / "new" / "a.json"), "serve") == tmp_path / "new" / "a.json"
    dated = result_path(str(tmp_path / "folder"), "latency")
    assert dated.parent.is_dir()
    assert dated.name.startswith("latency-2") and dated.suffix == ".json"


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--save: cannot write"):
        result_path(str(tmp_path / "file" / "below"), "serve")


def test_not_a_number_is_refused(tmp_path):
    with pytest.raises(ValueError):
        write_result(tmp_path / "a.json", {"x": math.nan})


def test_details_are_aligned_and_hold_failures():
    done = Record(5.0, prompt_tokens=3, output_tokens=2, token_times=[6.0, 7.0], text="ab")
    lists = details([done, Record(6.0, error="gone")])
    assert lists["start_times"] == [0.0, 1.0]
    assert lists["ttfts"] == [1.0, None]
    assert lists["itls"] == [[1.0], []]
    assert lists["errors"] == ["", "gone"]
    assert {len(values) for values in lists.values()} == {2}
    json.dumps(lists, allow_nan=False)
