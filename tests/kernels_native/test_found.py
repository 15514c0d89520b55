"""Which library and which instruction set: found, forced, or a reason with what to do."""

import platform

import pytest

from penstock.core.errors import ConfigError
from penstock.kernels.native import library as module
from penstock.kernels.native.found import ISAS, RECORD, Missing, choose_isa, drawback, find_library


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    monkeypatch.delenv("PENSTOCK_ISA", raising=False)
    monkeypatch.delenv("PENSTOCK_KERNELS", raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_the_installed_library_is_taken_unless_another_is_named(monkeypatch, tmp_path):
    ours, other = tmp_path / "_kernels.any.so", tmp_path / "other.so"
    ours.touch()
    other.touch()
    assert find_library(tmp_path) == ours
    monkeypatch.setenv("PENSTOCK_KERNELS", str(other))
    assert find_library(tmp_path) == other
    other.unlink()
    with pytest.raises(ConfigError, match="PENSTOCK_KERNELS: expected the path"):
        find_library(tmp_path)


def test_the_installation_says_why_it_built_none(monkeypatch, tmp_path):
    with pytest.raises(
        Missing, match=r"not built \(the package was not installed\); install a C\+\+17 compiler"
    ):
        find_library(tmp_path)
    (tmp_path / RECORD).write_text("command 'g++' failed\n")
    with pytest.raises(Missing, match=r"not built \(command 'g\+\+' failed\); .*apt install g\+\+.*again"):
        find_library(tmp_path)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(Missing, match="this machine is aarch64"):
        find_library(tmp_path)


def test_a_file_that_is_no_library_or_an_older_one_is_a_reason(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_text("not a library")
    monkeypatch.setenv("PENSTOCK_KERNELS", str(broken))
    monkeypatch.setattr(module, "library", module.library.__wrapped__)
    assert "cannot be loaded" in module.why_missing() and "install penstock again" in module.why_missing()


def test_instruction_sets(monkeypatch):
    assert [choose_isa(best) for best in (1, 2, 3)] == [1, 2, 3]
    with pytest.raises(Missing, match="AVX2"):
        choose_isa(0)
    monkeypatch.setenv("PENSTOCK_ISA", "avx2")
    assert choose_isa(3) == 1
    monkeypatch.setenv("PENSTOCK_ISA", "avx512")
    with pytest.raises(
        ConfigError, match="PENSTOCK_ISA: asks for avx512, and this processor has at most avx2"
    ):
        choose_isa(1)
    monkeypatch.setenv("PENSTOCK_ISA", "none")
    with pytest.raises(Missing, match="PENSTOCK_ISA=none"):
        choose_isa(3)
    monkeypatch.setenv("PENSTOCK_ISA", "sse")
    with pytest.raises(ConfigError, match="expected one of none, avx2"):
        choose_isa(3)


def test_every_weaker_set_says_what_is_slower_and_why():
    strongest = len(ISAS) - 1
    assert drawback(strongest, strongest) == ""
    for used in range(1, strongest):
        assert f"longer than with {ISAS[-1]}" in drawback(used, used)
        assert drawback(used, used).startswith("this processor has no more")
        assert drawback(used, strongest).startswith(
            f"PENSTOCK_ISA says so, and this processor has {ISAS[-1]}"
        )
