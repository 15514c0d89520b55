"""No kernel touches memory beyond its arguments, and the harness that says so would see it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.kernels.native import library
from tests.kernels_native.bounds import __main__ as driver
from tests.kernels_native.bounds.cases import COVERED

HEADER = Path(library.__file__).parents[1] / "csrc/api.h"
WITHOUT_MEMORY = {"ps_isa_best", "ps_isa_current", "ps_isa_force", "ps_layout_version"}

OVERRUN = """
import numpy as np
from penstock.kernels.native.library import library
from tests.kernels_native.bounds.memory import F32, Memory, address, numbers
memory, rng = Memory({side!r}), np.random.default_rng(0)
x, out = memory.place(numbers(rng, F32, 2, 37)), memory.place(numbers(rng, F32, 2, 37), writes={writes})
weight = memory.place(numbers(rng, F32, 37 - {short}))
shift = 4 if {side!r} == "before" else 0
where = address(x) - shift
library().ps_rms_norm(where, None, None, address(weight), 1e-5, 0.0, F32, 2, 37, 37, address(out))
print("nobody minded")
"""


def _run(isa, *arguments):
    command = [sys.executable, "-X", "faulthandler", *arguments]
    environment = {**os.environ, "PENSTOCK_ISA": isa}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_every_kernel_stays_within_its_arguments(isa):
    done = _run(isa, "-m", "tests.kernels_native.bounds", "--rounds", "12")
    assert done.returncode == 0, "\n".join((*done.stdout.splitlines()[-1:], done.stderr))
    assert done.stdout.startswith(f"instruction set {isa}, ") and done.stdout.endswith("all within bounds\n")


@pytest.mark.parametrize(
    ("side", "writes", "short"), [("behind", True, 1), ("before", True, 0), ("behind", False, 0)]
)
def test_one_number_too_far_ends_the_process(isa, side, writes, short):
    """Read behind the weights, read before the rows, write to what is only to be read."""
    done = _run(isa, "-c", OVERRUN.format(side=side, writes=writes, short=short))
    assert done.returncode != 0 and "nobody minded" not in done.stdout
    assert "Segmentation fault" in done.stderr or "AddressSanitizer" in done.stderr


def test_every_function_of_the_interface_has_a_case():
    declared = set(re.findall(r"^\w+ (ps_\w+)\(", HEADER.read_text(), re.MULTILINE))
    assert {"ps_linear", "ps_pack", "ps_attend"} <= declared
    missing = declared - COVERED - WITHOUT_MEMORY
    assert not missing, f"write a case for {missing} in {Path(driver.__file__).parent}"
    assert declared >= COVERED
