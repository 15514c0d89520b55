"""The way out when Triton was imported too early to be interpreted in this process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernels_triton.conftest import LATE

HERE = Path(__file__).parent


@pytest.mark.skipif(not LATE, reason="this process runs the tests of the Triton kernels itself")
@pytest.mark.timeout(600)
def test_kernels_in_the_interpreter():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(HERE)],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
