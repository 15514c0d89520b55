"""Create the project's virtual environment and install into it, saying what happens; used by ``make env``.

Only the standard library is used, and the file parses on old interpreters so that a Python that is too old
gets a sentence instead of a syntax error. Nothing is done when the dependencies are the ones that were
installed last: their hash lies in ``<venv>/.installed``.

Usage: python3 tools/bootstrap.py [VENV]
"""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from typing import NoReturn

MINIMUM = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TOOL_TABLE = re.compile(r"^\[tool\.(?!setuptools).*?(?=^\[|\Z)", re.MULTILINE | re.DOTALL)
STEP = re.compile(r"\s*(Collecting|Downloading|Building wheel for|Installing collected packages)[: ]*(\S*)")


def say(text: str) -> None:
    """Print one line at once."""
    print("env: " + text, flush=True)


def fail(text: str) -> NoReturn:
    """Print the reason and stop with status 2."""
    sys.exit("env: " + text)


def compiler() -> bool:
    """Return whether there is a C++ compiler to build the CPU kernels with."""
    command = os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++"
    return shutil.which(command.split()[0]) is not None


def fingerprint() -> str:
    """Hash what decides the installation: dependencies, kernels, the interpreter; not lint settings.

    A compiler that was installed since is a reason to install again.
    """
    digest = hashlib.sha256(sys.version.encode())
    for name in ("pyproject.toml", "constraints.txt"):
        with open(os.path.join(ROOT, name), encoding="utf-8") as file:
            text = file.read()
        digest.update(TOOL_TABLE.sub("", text).encode())
    for name in ["setup.py", *sorted(glob.glob("penstock/kernels/csrc/*", root_dir=ROOT))]:
        with open(os.path.join(ROOT, name), "rb") as source:
            digest.update(source.read())
    if not compiler():
        digest.update(b"without a compiler")
    return digest.hexdigest()


def interpreter(venv: str) -> str:
    """Return the path of the environment's Python."""
    return os.path.join(venv, "Scripts" if os.name == "nt" else "bin", "python")


def create(venv: str) -> None:
    """Make the environment unless it is there."""
    if os.path.exists(interpreter(venv)):
        return
    say("creating " + os.path.relpath(venv))
    done = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True, check=False)
    if done.returncode:
        fail(f"python -m venv failed (on Debian: apt install python3-venv)\n{done.stdout}{done.stderr}")


def progress(line: str, started: float) -> None:
    """Show pip's current step: one line that is overwritten on a terminal, a line per download elsewhere."""
    match = STEP.match(line)
    if not match:
        return
    verb, what = match.groups()
    if verb.startswith("Installing"):
        what = "the packages"
    what = re.split(r"[<>=!~;\[]", os.path.basename(what))[0]
    if what.endswith(".whl"):
        what = " ".join(what.split("-")[:2])
    size = re.search(r"\(([\d.]+ [kMG]B)\)", line)
    text = f"{verb.split()[0].lower()} {what}" + (f" ({size.group(1)})" if size else "")
    if sys.stdout.isatty():
        print(f"\r\033[K  [{time.time() - started:3.0f} s] {text}", end="", flush=True)
    elif verb in ("Downloading", "Installing collected packages"):
        print("  " + text, flush=True)


def install(venv: str) -> None:
    """Run pip quietly; its full log is kept beside the environment and shown only if it fails."""
    log = os.path.join(venv, "install.log")
    say("installing penstock and its dependencies (the first time downloads torch and takes minutes)")
    command = [interpreter(venv), "-m", "pip", "install", "--progress-bar", "off", "--no-input"]
    command += ["--disable-pip-version-check", "-c", "constraints.txt", "-e", ".[dev]"]
    started = time.time()
    with open(log, "w", encoding="utf-8") as file:
        pipe = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in pipe.stdout or ():
            file.write(line)
            progress(line, started)
        status = pipe.wait()
    if sys.stdout.isatty():
        print("\r\033[K", end="")
    if status:
        with open(log, encoding="utf-8") as file:
            tail = file.readlines()[-25:]
        fail(f"pip failed; the end of {os.path.relpath(log)}:\n{''.join(tail)}")
    say(f"ready after {time.time() - started:.0f} s")
    record = os.path.join(ROOT, "penstock", "kernels", "native", "_kernels.missing")
    if os.path.exists(record):
        with open(record, encoding="utf-8") as file:
            say(
                "the CPU kernels could not be built, so torch, which is slower, stands in: "
                + file.read().strip()
            )


def main() -> None:
    """Bring the environment up to date."""
    if sys.version_info < MINIMUM:
        have = ".".join(map(str, sys.version_info[:2]))
        fail(f"Python 3.11 or newer is needed, this is {have}; set it: make PYTHON=/path/to/python3.12 ...")
    venv = os.path.abspath(os.path.join(ROOT, sys.argv[1] if len(sys.argv) > 1 else ".venv"))
    stamp = os.path.join(venv, ".installed")
    wanted = fingerprint()
    if os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            if file.read() == wanted:
                return
    create(venv)
    install(venv)
    with open(stamp, "w", encoding="utf-8") as file:
        file.write(wanted)


if __name__ == "__main__":
    main()
