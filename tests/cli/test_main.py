"""The command as a whole: help without heavy imports, one-line errors, exit statuses."""

import subprocess
import sys

import pytest

from penstock.cli import main as main_module
from penstock.cli.main import main
from penstock.core.errors import ConfigError


def run(capsys, *arguments):
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_teaches(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert "examples:" in out
    for verb in main_module.VERBS:
        assert verb.replace("_", "-") in out


@pytest.mark.parametrize("verb", [name.replace("_", "-") for name in main_module.VERBS])
def test_every_verb_has_help_with_an_example(capsys, verb):
    status, out, _ = run(capsys, verb, "--help")
    assert status == 0
    assert "examples:" in out
    assert f"penstock {verb}" in out


def test_serve_help_has_units_ranges_defaults_and_no_twins(capsys):
    text = " ".join(run(capsys, "serve", "--help")[1].split())
    assert "Sequences running at once [>= 1 and <= 65536 sequences; default: 64]" in text
    assert "--gpu-memory-utilization, --mem-fraction-static VALUE same as --memory-fraction" in text
    assert "--schedule.max-num-seqs" not in text


def test_help_imports_nothing_heavy():
    """Torch, transformers, numpy, the server and rich must wait until a verb runs."""
    code = (
        "import sys\nfrom penstock.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'fastapi', 'httpx', 'rich', 'zmq', 'matplotlib'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: VERB"),
        (["srve"], "unknown verb 'srve'; did you mean serve?"),
        (["serve", "--max-num-seq", "3"], "unknown flag --max-num-seq; did you mean --max-num-seqs?"),
        (["serve", "--max-num-seqs", "0"], "schedule.max_num_seqs: expected a whole number >= 1"),
        (["serve", "--gpu-memory-utilization", "2"], "cache.memory_fraction: expected a number > 0 and <= 1"),
        (["serve", "--dtype", "fp8"], "model.dtype: expected one of auto, float32, bfloat16, float16"),
        (["serve", "--port", "99999"], "server.port: expected a whole number >= 0 and <= 65535"),
        (["serve", "--config", "/none.toml"], "config: cannot read /none.toml"),
        (["serve", "a", "b"], "unknown word b"),
        (["serve", "a", "--model", "b"], "the model is named twice"),
        (["bench", "serve", "--num-prompts", "-1"], "--num-prompts: expected a whole number >= 0"),
        (["bench", "serve", "--input-len", "many"], "--input-len: expected a number, uniform:LOW:HIGH"),
        (["bench", "serve", "--goodput", "fast:1"], "--goodput: expected metric:value"),
        (["bench", "serve", "--extra-body", "{"], "--extra-body: not valid JSON"),
        (["bench", "serve", "--plot", "x.gif"], "--plot: expected a name that ends in .png"),
        (["bench", "serve", "--percentiles", "0"], "--percentiles: expected numbers above 0"),
        (["bench", "serve", "--dataset-name", "trace"], "--dataset-path: the trace dataset reads a file"),
    ],
)
def test_mistakes_are_one_line_with_status_two(capsys, arguments, says):
    status, _, err = run(capsys, *arguments)
    assert status == 2
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def broken(error):
    def fail(args):
        raise error

    return fail


def test_unexpected_errors_are_one_line_unless_debug(capsys, monkeypatch):
    monkeypatch.setattr("penstock.cli.collect_env.run", broken(RuntimeError("two\nlines")))
    status, _, err = run(capsys, "collect-env")
    assert (status, err) == (1, "penstock: RuntimeError: two lines (--debug shows where)\n")
    with pytest.raises(RuntimeError):
        main(["collect-env", "--debug"])
    with pytest.raises(RuntimeError):
        main(["--debug", "collect-env"])


def test_project_errors_and_interrupts(capsys, monkeypatch):
    monkeypatch.setattr("penstock.cli.collect_env.run", broken(ConfigError("model.model", "no such folder")))
    assert run(capsys, "collect-env") == (2, "", "penstock: model.model: no such folder\n")
    monkeypatch.setattr("penstock.cli.collect_env.run", broken(KeyboardInterrupt()))
    assert run(capsys, "collect-env")[0] == 130


def test_version(capsys):
    status, out, _ = run(capsys, "--version")
    assert status == 0
    assert out.startswith("penstock ")


def test_serve_hands_the_resolved_configuration_over(monkeypatch):
    import types

    seen = []
    fake = types.ModuleType("penstock.server")
    fake.run_server = seen.append
    monkeypatch.setitem(sys.modules, "penstock.server", fake)
    arguments = ["serve", "/models/x", "--port", "0", "--scheduling-policy", "priority", "--api-key", "k"]
    assert main(arguments) == 0
    (config,) = seen
    assert (config.model.model, config.server.port) == ("/models/x", 0)
    assert (config.schedule.order, config.server.api_key) == ("priority > fcfs", ("k",))
