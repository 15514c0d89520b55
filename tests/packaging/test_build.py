"""Building never fails for want of a compiler, and leaves either the kernels or the reason, never both."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.kernels.native import found
from penstock.kernels.native.found import RECORD, Missing, find_library

ROOT = Path(__file__).parents[2]
SOURCES = "penstock/kernels/csrc"
NATIVE = "penstock/kernels/native"

FAKE = """#!/bin/sh
echo "$@" >> {log}
for word in "$@"; do case "$word" in {fails}) echo "internal compiler error" >&2; exit 1;; esac; done
while [ $# -gt 1 ]; do [ "$1" = -o ] && echo made > "$2"; shift; done
"""
"""A compiler that makes a file of everything but what matches."""


@pytest.fixture
def tree(tmp_path):
    """What of the sources the build of the kernels needs, and a library of an earlier build."""
    root = tmp_path / "tree"
    shutil.copytree(ROOT / SOURCES, root / SOURCES)
    (root / NATIVE).mkdir()
    (root / "penstock/__init__.py").touch()
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, root)
    return root


def build(root, compiler, *more):
    command = [sys.executable, "setup.py", "-q", "build_ext", *more]
    environment = {**os.environ, "CXX": str(compiler), "CC": str(compiler)}
    environment.pop("LDSHARED", None)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def fake(folder, fails):
    path = folder / "compiler"
    path.write_text(FAKE.format(fails=fails, log=folder / "compiler.log"))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("fails", ["*/nothing-there", "*rows.cpp", "-shared"])
def test_a_compiler_that_is_missing_or_gives_up_half_way(tree, tmp_path, monkeypatch, fails):
    """None at all, one that fails at some file, one that fails at the end."""
    compiler = tmp_path / "nothing-there" if fails == "*/nothing-there" else fake(tmp_path, fails)
    folder = tmp_path / "lib" / NATIVE
    folder.mkdir(parents=True)
    suffix = importlib.util.find_spec("_ctypes").origin.partition("_ctypes")[2]
    older = folder / f"_kernels{suffix}"
    older.write_text("of older sources")
    os.utime(older, (0, 0))
    said = build(tree, compiler, "--build-lib", str(tmp_path / "lib"), "--build-temp", str(tmp_path / "temp"))
    assert "goes without its CPU kernels" in said
    assert [path.name for path in folder.iterdir()] == [RECORD]
    monkeypatch.setattr(found.platform, "machine", lambda: "x86_64")
    with pytest.raises(Missing) as caught:
        find_library(folder)
    assert compiler.name in str(caught.value) and "then install penstock again" in str(caught.value)


def test_in_the_source_tree_a_later_compiler_takes_the_reason_away(tree, tmp_path):
    build(tree, tmp_path / "nothing-there", "--inplace")
    assert [path.name for path in (tree / NATIVE).iterdir()] == [RECORD]
    build(tree, fake(tmp_path, "*/nothing"), "--inplace")
    (library,) = (tree / NATIVE).iterdir()
    assert library.name.startswith("_kernels") and library.suffix == ".so"
    os.utime(tree / SOURCES / "api.h", (2**31 - 1,) * 2)
    build(tree, tmp_path / "nothing-there", "--inplace")
    assert [path.name for path in (tree / NATIVE).iterdir()] == [RECORD]


def test_make_env_installs_again_once_there_is_a_compiler(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools/bootstrap.py")
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    monkeypatch.setenv("CXX", str(tmp_path / "nothing-there"))
    without = bootstrap.fingerprint()
    monkeypatch.setenv("CXX", f"{fake(tmp_path, 'x')} -pipe")
    assert bootstrap.fingerprint() != without
