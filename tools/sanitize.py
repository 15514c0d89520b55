"""Build the CPU kernels with AddressSanitizer and UBSan, and run their tests on that library.

Every instruction set that this processor has is forced in turn; each runs the tests of
``tests/kernels_native`` and then fresh random calls on guarded memory (``tests/kernels_native/bounds``). The
first finding stops all, with its stack. Objects are kept in the build folder and built anew when what they
are made of changed.

Usage: python tools/sanitize.py [--build FOLDER] [--rounds N] [--isa NAME] [pytest arguments]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "penstock/kernels/csrc"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
FLAGS = ["-std=c++17", "-O1", "-g", "-fPIC", "-fno-math-errno", "-DPS_EXACT_SCRATCH", *SANITIZERS]
QUIET = ["-Wno-uninitialized", "-Wno-maybe-uninitialized"]
RUNTIMES = ("libasan.so", "libubsan.so", "libstdc++.so")
"""Loaded before Python, in this order: the first takes over malloc, the last lets it see exceptions."""


def say(text: str) -> None:
    """Print one line at once."""
    print("sanitize: " + text, flush=True)


def compiler() -> list[str]:
    """Return the command of the compiler, which has to be g++: the runtimes are looked up by it."""
    return (os.environ.get("CXX") or "g++").split()


def build(folder: Path) -> Path:
    """Compile what changed and return the library."""
    folder.mkdir(parents=True, exist_ok=True)
    library, objects = folder / "kernels.so", []
    for source in sorted(SOURCES.glob("*.cpp")):
        target = folder / f"{source.stem}.o"
        objects.append(target)
        if not stale(target):
            continue
        started = time.monotonic()
        run([*compiler(), *FLAGS, *QUIET, "-MMD", "-c", str(source), "-o", str(target)])
        say(f"compiled {source.name} in {time.monotonic() - started:.0f} s")
    if not library.exists() or library.stat().st_mtime < max(one.stat().st_mtime for one in objects):
        run([*compiler(), "-shared", *SANITIZERS, *map(str, objects), "-o", str(library)])
    return library


def stale(target: Path) -> bool:
    """Return whether an object is older than what it was made of, which the compiler listed beside it."""
    listed = target.with_suffix(".d")
    if not target.exists() or not listed.exists():
        return True
    parts = listed.read_text(encoding="utf-8").replace("\\\n", " ").partition(":")[2].split()
    built = target.stat().st_mtime
    return any(not os.path.exists(part) or os.path.getmtime(part) > built for part in [*parts, __file__])


def run(command: list[str], more: dict[str, str] | None = None, *, last: bool = False) -> None:
    """Run a command here, and stop if it fails.

    Args:
        command: what to run.
        more: environment beside this one.
        last: show the last line of its output only, and that if it fails.
    """
    out = subprocess.PIPE if last else None
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **(more or {})}, stdout=out, text=True, check=False
    )
    if done.returncode:
        say("failed: " + " ".join(command))
        sys.exit("\n".join((done.stdout or "").splitlines()[-1:]) or 1)


def environment(library: Path) -> dict[str, str]:
    """Return what makes a Python run on that library, the sanitizers' runtimes loaded first."""
    ask = [*compiler(), "-print-file-name={}"]
    found = [
        subprocess.run(
            [part.format(name) for part in ask], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in RUNTIMES
    ]
    return {
        "LD_PRELOAD": " ".join(found),
        "PENSTOCK_KERNELS": str(library),
        # Python leaks by intention; a fault is the sanitizer's to report, not Python's.
        "ASAN_OPTIONS": "detect_leaks=0:handle_segv=2:strict_string_checks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }


def isas(more: dict[str, str]) -> list[str]:
    """Return the instruction sets of this processor; also checks that the library can be loaded."""
    code = (
        "from penstock.kernels.native.library import library\n"
        "from penstock.kernels.native.found import ISAS\n"
        "print(*ISAS[1:library().ps_isa_best() + 1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit("sanitize: the library could not be loaded")
    return done.stdout.split()


def main() -> None:
    """Build and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--build", type=Path, default=ROOT / "build/sanitize", help="folder of objects and library"
    )
    parser.add_argument("--rounds", type=int, default=200, help="fresh draws of each case on guarded memory")
    parser.add_argument("--isa", default="", help="one instruction set in place of all")
    args, rest = parser.parse_known_args()
    more = environment(build(args.build.resolve()))
    for isa in [args.isa] if args.isa else isas(more):
        started = time.monotonic()
        say(f"{isa}: tests, then {args.rounds} draws of each case on guarded memory")
        forced = {**more, "PENSTOCK_ISA": isa}
        tests = ["-m", "pytest", "tests/kernels_native", "--timeout", "3600", *rest]
        run([sys.executable, *tests], forced)
        bounds = ["-m", "tests.kernels_native.bounds", "--seed", "-1", "--rounds", str(args.rounds)]
        run([sys.executable, *bounds], forced, last=True)
        say(f"{isa}: nothing found, {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
