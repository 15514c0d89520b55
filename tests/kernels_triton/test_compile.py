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


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    cache = tmp_path_factory.mktemp("triton")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.kernels_triton.aot"],
        env=os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_all_kernels_and_steps_are_there(kernels):
    assert {row["kernel"] for row in kernels} == {"attend_kernel", "merge_kernel", "write_kernel"}
    assert {row["arch"] for row in kernels} == {80, 90}
    assert all(row["cubin"] > 0 for row in kernels)


def test_shared_memory_suffices(kernels):
    for row in kernels:
        assert row["shared"] <= SHARED[row["arch"]], row


def test_half_precision_keeps_to_registers(kernels):
    for row in kernels:
        if "float32" not in row["label"] and row["arch"] == 90:
            assert row["spilled"] == 0, row


def test_half_precision_runs_on_tensor_cores_fed_by_wide_copies(kernels):
    attends = [r for r in kernels if r["kernel"] == "attend_kernel" and "float32" not in r["label"]]
    assert len(attends) == 7
    for row in attends:
        unit = "wgmma" if row["label"].startswith("prefill") and row["arch"] == 90 else "mma"
        assert row[unit] > 0, row
        assert row["wide_copies"] > 0, row
