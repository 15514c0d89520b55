"""``penstock tune``: from a workload to a file that serve takes."""

import json

import pytest

from penstock.cli.main import main
from penstock.config.load import load_config

FLAGS = ["--try", "order=fcfs", "--try", "shape=chunked", "--try", "admit=unlimited,queue-bound(8)"]
FLAGS += ["--try", "max-num-seqs=4,32", "--try", "max-num-batched-tokens=0", "--random", "0"]
FLAGS += ["--try", "reserve=known", "--try", "preempt=newest", "--try", "evict=lru", "--no-progress"]
QUICK = ["tune", "--trace", "poisson:rate=30,count=80,prompt=200,output=10", "--hardware", "l4", *FLAGS]


def test_a_file_for_serve_is_written_and_the_reasons_are_told(capsys, tmp_path):
    path, report = tmp_path / "best.toml", tmp_path / "report.json"
    start = ["--max-num-seqs", "2", "--slo", "ttft:2s", "--write", str(path), "--report", str(report)]
    assert main([*QUICK, *start]) == 0
    out = capsys.readouterr().out
    assert "SIMULATED" in out and "What each change is worth" in out and "several tenants" in out
    schedule = load_config(path).schedule
    assert schedule.max_num_seqs == 32
    result = json.loads(report.read_text())
    assert (result["kind"], result["label"]) == ("tune", "simulated") and result["gain"] > 1.3
    assert result["best"]["max_num_seqs"] == "32"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tune"], "--trace: expected a workload"),
        ([*QUICK, "--write", "x.json"], "--write: expected a .toml file"),
        ([*QUICK, "--write", "/no/such/x.toml"], "--write: expected a .toml file"),
        ([*QUICK, "--try", "order"], "--try: expected NAME=VALUE"),
        (["tune", "--trace", "nosuch"], "--workload: expected one of"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, says):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
