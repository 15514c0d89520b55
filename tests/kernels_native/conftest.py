"""Every instruction set that this machine has, forced in turn, or only the one that PENSTOCK_ISA names; skips
where there are no kernels."""

import os

import pytest

from penstock.kernels.native import library
from penstock.kernels.native.found import ISAS


@pytest.fixture(params=ISAS[1:])
def isa(request):
    reason = library.why_missing()
    if reason:
        pytest.skip(reason)
    lib, number = library.library(), ISAS.index(request.param)
    if (named := os.environ.get("PENSTOCK_ISA")) and named != request.param:
        pytest.skip(f"PENSTOCK_ISA={named}")
    if lib.ps_isa_best() < number:
        pytest.skip(f"this processor has no {request.param}")
    before = lib.ps_isa_current()
    lib.ps_isa_force(number)
    yield request.param
    lib.ps_isa_force(before)


@pytest.fixture(params=[1, 3])
def threads(request, isa):
    """Compute threads; three also on fewer cores, so that they get in each other's way."""
    library.start_team(request.param, spin_us=20)
    yield request.param
    library.start_team(1)
