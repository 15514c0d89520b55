"""Without a compiler, AVX-512 or any usable set: the same answers, and a start that says what is slower."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from penstock.kernels.native.library import isa, why_missing

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
PROMPT, TOKENS = "The first thing that she saw was", 16
# float32: in bfloat16 two ways of adding may choose differently between tokens that are nearly equal.
SETTINGS = {"dtype": "float32", "kv_cache_memory_bytes": 32 << 20}

GENERATE = f"""
import json
from penstock.frontend.llm import LLM
with LLM(**{SETTINGS}) as llm:
    (out,) = llm.generate([{PROMPT!r}], temperature=0.0, max_tokens={TOKENS})
    print(json.dumps([out.outputs[0].text, [line for line in llm.info.decisions if "model.kernels" in line]]))
"""


def generate(**environment):
    """Return the text and the line about kernels of a process with that environment."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", GENERATE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text, (line,) = json.loads(done.stdout.splitlines()[-1])
    return text, line


@pytest.fixture(scope="module")
def native():
    if reason := why_missing():
        pytest.skip(reason)
    text, line = generate()
    assert "model.kernels = native" in line and text
    return text


def test_no_instruction_set_at_all(native):
    text, line = generate(PENSTOCK_ISA="none")
    assert text == native
    assert "model.kernels = torch  (slower: where it was measured 2.3 times" in line
    assert "PENSTOCK_ISA=none keeps the CPU kernels out; unset it" in line


def test_no_avx512(native):
    if isa() == "avx2":
        pytest.skip("this processor has no more than avx2")
    text, line = generate(PENSTOCK_ISA="avx2")
    assert text == native
    assert re.search(r"model\.kernels = native  \(compiled, for avx2; PENSTOCK_ISA says so", line)
    assert "prompts and batches take longer than with avx512_bf16, which has vectors twice as wide" in line


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package as pip installs it where no compiler is found, nor a network."""
    folder = tmp_path_factory.mktemp("packaging")
    source, site = folder / "source", folder / "site"
    junk = shutil.ignore_patterns("__pycache__", "*.so", "_kernels.missing")
    shutil.copytree(ROOT / "penstock", source / "penstock", ignore=junk)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    # With no compiler named, distutils takes the one that this Python was built by, which PATH then lacks.
    environment = {key: value for key, value in os.environ.items() if key not in ("CC", "CXX")}
    environment |= {"PATH": os.path.dirname(sys.executable), "TMPDIR": str(folder)}
    command = [*pip, "--target", str(site), str(source)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def test_installed_without_a_compiler(native, installed, tmp_path):
    assert not list(installed.rglob("_kernels*.so"))
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    command = [sys.executable, str(installed / "bin/penstock"), "serve", "--port", "0", *flags]
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            said = _start(process, tmp_path / "log")
            url = re.search(r"http://127\.0\.0\.1:\d+", said)[0]
            body = {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0}
            answer = httpx.post(f"{url}/v1/completions", json=body, timeout=120).json()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    (line,) = (line for line in said.splitlines() if "model.kernels" in line)
    assert "model.kernels = torch  (slower: where it was measured 2.3 times" in line
    assert re.search(
        r"the CPU kernels were not built \(.*No such file or directory: '[^']*(\+\+|cc|clang)[^']*'", line
    )
    assert "install a C++17 compiler" in line and "then install penstock again" in line
    assert answer["choices"][0]["text"] == native


def _start(process, log):
    """Return what the server printed when it is up."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text()
        if "Ctrl-C" in said:
            return said
        time.sleep(0.2)
    raise AssertionError(log.read_text())
