"""``penstock reproduce`` on experiments of its own: verdicts, crashes, files, exit statuses."""

import json
import math
import os
import signal
import time

import pytest

from penstock.cli.main import main
from penstock.reproduce import base
from penstock.reproduce.base import Bar, experiment
from penstock.reproduce.harness import Report, SeedRun, choose
from penstock.reproduce.plots import curves, plot_bars

ME = __name__


def _register():
    """Four experiments of row 99, in every process that imports this module."""

    @experiment("t-good", row="99", system="testing", kind="simulated", title="Doubles", bars=[Bar("x", 2.0)])
    def good(seed, quick):
        return {"x": 2.0 + seed, "curve[1]": seed, "curve[4]": 2.0 * seed, "big": math.inf}

    bars = [Bar("y", floor=1.0, ceiling=3.0, paper="2.5"), Bar("z", floor=0.0)]

    @experiment("t-low", row="99", system="testing", kind="property", title="Low", bars=bars, fixed=True)
    def low(seed, quick):
        return {"y": 0.5, "z": 0.0}

    @experiment("t-dies", row="98", system="mortal", kind="simulated", title="Dies", bars=[Bar("x", 1.0)])
    def dies(seed, quick):
        os.kill(os.getpid(), signal.SIGKILL)

    @experiment("t-raises", row="98", system="mortal", kind="real", title="Raises", bars=[Bar("x", 1.0)])
    def raises(seed, quick):
        if seed:
            raise ValueError("two\nlines")
        return {"x": 5}

    @experiment("t-hangs", row="97", system="mortal", kind="simulated", title="Hangs", bars=[])
    def hangs(seed, quick):
        time.sleep(60)


if "t-good" not in base.EXPERIMENTS:
    _register()


@pytest.fixture(autouse=True)
def known():
    """Leave no trace for other tests' lists."""
    if "t-good" not in base.EXPERIMENTS:
        _register()
    yield
    for name in [name for name in base.EXPERIMENTS if name.startswith("t-")]:
        del base.EXPERIMENTS[name]


def test_a_met_bar_is_status_zero_and_all_is_saved(tmp_path, capsys):
    page = tmp_path / "page.md"
    flags = ["--seeds", "3", "-j", "0", "--output", str(tmp_path / "out"), "--markdown", str(page)]
    assert main(["reproduce", "t-good", *flags]) == 0
    assert "met" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "reproduce.json").read_text())
    (found,) = result["experiments"]
    assert result["kind"] == "reproduce" and result["machine"]["cpu"] and result["versions"]["python"]
    assert found["summary"]["x"] == {"median": 3.0, "min": 2.0, "max": 4.0}
    assert [run["seed"] for run in found["runs"]] == [0, 1, 2]
    assert (tmp_path / "out" / "bars.png").stat().st_size > 5000
    assert (tmp_path / "out" / "t-good.png").stat().st_size > 5000
    text = page.read_text()
    assert "| `x` | 3 [2 .. 4] | >= 2 | - | met |" in text and "page.png" in text
    again = tmp_path / "again.md"
    saved = ["--from", str(tmp_path / "out" / "reproduce.json"), "--markdown", str(again)]
    assert main(["reproduce", *saved]) == 0
    assert again.read_text() == text.replace("page.png", "again.png")


def test_a_missed_bar_is_status_one_unless_quick(capsys):
    assert main(["reproduce", "t-low", "-j", "0"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert main(["reproduce", "t-low", "-j", "0", "--quick"]) == 0
    assert "quick" in capsys.readouterr().out


def test_crashes_errors_and_hangs_do_not_stop_the_others(capsys, tmp_path):
    words = ["reproduce", "99", "mortal", "--seeds", "2", "-j", "2", "--time-limit", "2", "--module", ME]
    assert main([*words, "--output", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    found = {one["name"]: one for one in json.loads((tmp_path / "reproduce.json").read_text())["experiments"]}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "t-good": "met",
        "t-low": "missed",
        "t-dies": "failed",
        "t-raises": "failed",
        "t-hangs": "failed",
    }
    assert len(found["t-low"]["runs"]) == 1  # fixed: run once
    assert found["t-good"]["runs"][0]["figures"]["big"] == "inf"
    assert "status -9" in found["t-dies"]["runs"][0]["error"]
    assert "ValueError: two lines" in captured.out
    assert "stopped after 2 s" in found["t-hangs"]["runs"][0]["error"]


def test_list_and_mistakes(capsys, tmp_path):
    assert main(["reproduce", "99", "--list"]) == 0
    out = capsys.readouterr().out
    assert "t-good" in out and "t-dies" not in out
    for words, says in [
        (["t-goood"], "did you mean t-good?"),
        (["t-good", "--kind", "real"], "nothing to run"),
        (["--module", "no.such"], "--module: cannot import no.such"),
        (["--from", "/none.json"], "--from: cannot read /none.json"),
        (["t-good", "--markdown", "/no/such/folder/x.md"], "--markdown: the folder of"),
    ]:
        try:
            status = main(["reproduce", *words])
        except SystemExit as stop:
            status = stop.code
        err = capsys.readouterr().err
        assert status == 2 and says in err and err.count("\n") == 1, err


def test_rows_systems_and_kinds_choose():
    found = base.EXPERIMENTS
    mine = {name: one for name, one in found.items() if name.startswith("t-")}
    assert [one.name for one in choose(mine, ["98"])[0]] == ["t-dies", "t-raises"]
    assert [one.name for one in choose(mine, ["mortal"], ["real"])[0]] == ["t-raises"]
    assert [one.name for one in choose(mine, [])[0]] == ["t-low", "t-hangs", "t-dies", "t-good", "t-raises"]
    assert choose(mine, ["t-good", "nope"])[1] == ["nope"]


def test_a_bar_without_its_figure_or_with_nan_is_missed(tmp_path):
    def report(figures, *bars):
        return Report(
            name="n", row="1", system="s", kind="simulated", title="t", bars=bars,
            runs=tuple(SeedRun(seed=i, figures=f) for i, f in enumerate(figures)),
        )  # fmt: skip

    assert report([{"x": 1.0}], Bar("missing", 0.0)).verdict == "missed"
    assert report([{"x": math.nan}], Bar("x", 0.0)).verdict == "missed"
    assert report([{"x": 1.0}, {"x": 9.0}, {"x": 2.0}], Bar("x", 2.0, 2.5)).verdict == "met"
    assert report([{"x": 1.0}], Bar("x", ceiling=0.9)).verdict == "missed"
    drawn = report([{"x": 3.0, "c[2]": 1.0, "c[1]": 2.0}], Bar("x", 2.0), Bar("x", ceiling=0.0))
    assert curves(drawn) == {"c": [(1.0, [2.0]), (2.0, [1.0])]}
    plot_bars([drawn], tmp_path / "x.png")
