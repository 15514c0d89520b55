"""An environment for each engine, made when it is first needed and kept; or one that is there already."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .engines import Peer, Unavailable

INSTALL_SECONDS = 3600


def default_root() -> Path:
    """Return where environments, models and workloads are kept unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "penstock" / "peers"


def interpreter(
    peer: Peer, root: Path, given: Mapping[str, str], say: Callable[[str], None], install: bool = True
) -> tuple[str, dict[str, Any]]:
    """Return the Python that runs an adapter, and what its installation cost (empty: it was there).

    Args:
        peer: which engine.
        root: holds the environments.
        given: interpreters of installations that are there already, by engine.
        say: told what takes long.
        install: make what is missing.

    Raises:
        Unavailable: the interpreter is not there, or pip failed.
    """
    if peer.name in given:
        path = Path(given[peer.name]).expanduser()
        if not os.access(path, os.X_OK):
            raise Unavailable(f"{path} is not an executable Python")
        return str(path), {}
    if not peer.environment:
        return sys.executable, {}
    home = root / "envs" / peer.environment
    python, stamp = home / "bin" / "python", home / "installed.json"
    wanted = hashlib.sha256(repr((peer.needs, peer.unwanted)).encode()).hexdigest()
    if stamp.exists() and json.loads(stamp.read_text(encoding="utf-8"))["needs"] == wanted:
        return str(python), {}
    if not install:
        raise Unavailable(f"is not installed in {home}")
    say(f"installing {peer.name}: {', '.join(peer.needs)}")
    begun = time.monotonic()
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(home)], home)
    _run([str(python), "-m", "pip", "install", "--no-input", "--progress-bar", "off", *peer.needs], home)
    if peer.unwanted:
        _run([str(python), "-m", "pip", "uninstall", "--yes", *peer.unwanted], home)
    cost = {"seconds": round(time.monotonic() - begun, 1), "mib": round(folder_size(home) / 2**20)}
    stamp.write_text(json.dumps({"needs": wanted} | cost), encoding="utf-8")
    say(f"installed {peer.name}: {cost['mib']} MiB, {cost['seconds']:.0f} s")
    return str(python), cost


def _run(command: list[str], home: Path) -> None:
    log = home.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"installing took more than {INSTALL_SECONDS} s") from None
    log.write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise Unavailable(f"installing failed (see {log.parent.name}/{log.name}): {' '.join(last)[:300]}")


def folder_size(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
