"""Every kernel compiles to machine code for the GPUs it is meant for, without one being here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton.backends.nvidia.compiler")

SHARED = {90: 227 * 1024, 80: 163 * 1024}
"""Bytes of shared memory that a block may use, by compute capability (CUDA programming guide)."""


def compile_all(cache):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.kernels_triton.aot"],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_kernels_compile_and_use_the_machine_as_intended(tmp_path):
    kernels = compile_all(tmp_path)
    assert {row["kernel"] for row in kernels} == {"attend_kernel", "merge_kernel", "write_kernel"}
    assert {row["arch"] for row in kernels} == {80, 90}
    halves = 0
    for row in kernels:
        assert row["cubin"] > 0, row
        assert row["shared"] <= SHARED[row["arch"]], row
        if row["kernel"] != "attend_kernel" or "float32" in row["label"]:
            continue
        halves += 1
        unit = "wgmma" if row["label"].startswith("prefill") and row["arch"] == 90 else "mma"
        assert row[unit] > 0, f"no tensor cores: {row}"
        assert row["wide_copies"] > 0, f"no 16-byte copies: {row}"
        assert row["spilled"] == 0 or row["arch"] < 90, f"registers spill: {row}"
    assert halves == 7
