"""``penstock simulate``: tables, files and one-line mistakes."""

import json

import pytest

from penstock.cli.main import main
from penstock.core.errors import ConfigError

QUICK = ["simulate", "--workload", "poisson:rate=20,count=40,prompt=200,output=10", "--hardware", "l4"]


def run(capsys, *arguments):
    try:
        status = main([*arguments])
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_a_run_prints_what_it_is_and_saves_everything(capsys, tmp_path):
    out, trace = tmp_path / "run.json", tmp_path / "trace.json"
    flags = ["--output", str(out), "--plot", str(tmp_path), "--chrome-trace", str(trace), "--replicas", "2"]
    settings = ["--slo", "ttft:1s,tpot:100", "--order", "fcfs", "--max-num-seqs", "8", "--cpu-cost", "0.001"]
    status, text, _ = run(capsys, *QUICK, *flags, *settings, "--route", "round-robin")
    assert status == 0
    for words in ("SIMULATED", "roofline of llama-3.1-8b on l4", "goodput", "TTFT", "as fast as real time"):
        assert words in text
    result = json.loads(out.read_text())
    assert (result["kind"], result["label"], result["completed"]) == ("simulate", "simulated", 40)
    assert result["scenario"]["schedule"]["order"] == "fcfs" and result["machine"]["cpu"]
    assert json.loads(trace.read_text())["traceEvents"]
    assert (tmp_path / "latency.png").exists()


def test_a_configuration_file_for_serve_is_taken_and_flags_override_it(capsys, tmp_path):
    file, out = tmp_path / "penstock.toml", tmp_path / "run.json"
    file.write_text('[model]\nmodel = "qwen3-8b"\n[schedule]\norder = "fcfs"\nmax_num_seqs = 4\n')
    flags = ["--config", str(file), "--max-num-seqs", "6", "--output", str(out)]
    assert run(capsys, *QUICK, *flags)[0] == 0
    scenario = json.loads(out.read_text())["scenario"]
    assert scenario["cost"] == "qwen3-8b@l4"
    assert (scenario["schedule"]["order"], scenario["schedule"]["max_num_seqs"]) == ("fcfs", 6)


def test_a_sweep_prints_the_front_and_draws_it(capsys, tmp_path):
    out = tmp_path / "sweep.json"
    axes = ["--sweep", "shape=chunked,nosuch", "--sweep", "max-num-seqs=2,64"]
    status, text, _ = run(capsys, *QUICK, *axes, "--plot", str(tmp_path), "--output", str(out), "-j", "2")
    assert status == 0 and "refused shape=nosuch" in text and "*" in text
    rows = json.loads(out.read_text())["rows"]
    assert len(rows) == 4 and (tmp_path / "sweep.png").exists()


def test_capacity(capsys, tmp_path):
    out = tmp_path / "capacity.json"
    flags = ["--find-capacity", "--slo", "ttft:2s", "--attainment", "0.8", "--output", str(out)]
    status, text, _ = run(capsys, *QUICK, *flags, "--plot", str(tmp_path))
    result = json.loads(out.read_text())
    assert status == 0 and "SIMULATED capacity" in text and result["capacity"] > 1
    assert (tmp_path / "capacity.png").exists()


def test_workloads_are_listed(capsys):
    status, text, _ = run(capsys, "simulate", "--list-workloads")
    assert status == 0 and "poisson" in text and "rate=1.0" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--workload", "nosuch"], "--workload: expected one of"),
        (["--workload", "trace:azure:/no/file.csv"], "--workload: cannot read /no/file.csv"),
        (["--cost", "nonsense"], "--cost: "),
        (["--hardware", "nosuch"], "--cost: 'nosuch' is not known"),
        (["--model", "nosuch"], "nosuch"),
        (["--model", "llama-3.1-70b"], "leaves no room for KV"),
        (["--cost", "fit:/no/file.json"], "--cost: "),
        (["--route", "nosuch"], "--route: "),
        (["--order", "nosuch"], "schedule.order: "),
        (["--slo", "fast:1"], "--slo: expected metric:value"),
        (["--find-capacity"], "--find-capacity: needs objectives"),
        (["--sweep", "order"], "--sweep: expected NAME=VALUE"),
        (["--sweep", "order=fcfs", "--chrome-trace", "x.json"], "--chrome-trace: is of one run"),
        (["--cpu-cost", "lots"], "--cpu-cost: expected off, measured"),
        (["--chrome-trace", "/no/such/folder/x.json"], "--chrome-trace: cannot write"),
        (["--output", "/proc/nope/x.json"], "--output: cannot write"),
        (["--plot", "/proc/nope"], "--plot: cannot make"),
        (["--tp", "0"], "--tp: expected a whole number from 1"),
        (["--blocks", "2"], "no request completed: "),
    ],
)
def test_mistakes_are_one_line_that_names_the_flag(capsys, arguments, says):
    status, _, err = run(capsys, *QUICK, *arguments)
    assert status in (1, 2) and says in err and err.count("\n") == 1, err
    assert "Traceback" not in err


def test_refusals_cross_processes():
    """Errors that a worker process meets come back as values, whatever the pool makes of exceptions."""
    from penstock.cli.simulate_flags import run_one
    from penstock.sim.run import Refusal, Scenario

    refusal = run_one(Scenario(workload="nosuch", cost="llama-3.1-8b@l4"))
    assert isinstance(refusal, Refusal) and refusal.field == "--workload"
    assert not isinstance(refusal, ConfigError)
