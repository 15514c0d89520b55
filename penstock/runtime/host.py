"""What this process may use of the machine: memory and cores within the limits of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Available:
    """Memory that can still be taken, in bytes, and what set the figure."""

    bytes: int
    source: str


def available_memory(device: str, proc: Path = PROC, cgroup: Path = CGROUP) -> Available:
    """Return what is free now: on CUDA the device's free memory, else the least of what limits this process.

    Args:
        device: ``cpu`` or ``cuda``.
        proc: where procfs is mounted.
        cgroup: where the cgroup file systems are mounted.
    """
    if device == "cuda":
        return Available(torch.cuda.mem_get_info()[0], "free device memory")
    candidates = [Available(_meminfo(proc, "MemAvailable"), "MemAvailable of the machine")]
    for folder in _cgroup_folders(proc, cgroup):
        for limit_file, usage_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, usage = _number(folder / limit_file), _number(folder / usage_file)
            if limit is not None and usage is not None:
                # Cached file pages are charged to the group but given back on demand.
                usage -= min(usage, _stat(folder / "memory.stat", "inactive_file"))
                candidates.append(Available(max(0, limit - usage), f"memory limit of control group {folder}"))
    return min(candidates, key=lambda c: c.bytes)


def usable_cores(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Return the cores that this process may run on, at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = float(len(os.sched_getaffinity(0)))
    else:
        cores = float(os.cpu_count() or 1)
    for folder in _cgroup_folders(proc, cgroup):
        try:
            quota, period = (folder / "cpu.max").read_text().split()[:2]
            if quota != "max":
                cores = min(cores, int(quota) / int(period))
        except (OSError, ValueError):
            continue
    return max(1, int(cores))


def user_cache() -> Path | None:
    """Return where this user's programs keep what they can make again (XDG); None without a home."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if given.is_absolute():
        return given
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return None


def resident_bytes(proc: Path = PROC) -> int:
    """Return the resident set of this process."""
    pages = int((proc / "self" / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _meminfo(proc: Path, field: str) -> int:
    for line in (proc / "meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{proc / 'meminfo'} has no {field}")


def _cgroup_folders(proc: Path, cgroup: Path) -> Iterator[Path]:
    """The process's control groups of either version and their parents: a parent's limit binds too."""
    seen = set()
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/"]:
        _, controllers, path = line.split(":", 2)
        root = cgroup / "memory" if "memory" in controllers.split(",") else cgroup
        if controllers and root == cgroup:
            continue
        folder = root / path.lstrip("/")
        for place in (folder, *folder.parents):
            if place in seen or not place.is_relative_to(root):
                continue
            seen.add(place)
            if place.is_dir():
                yield place


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None


def _stat(path: Path, field: str) -> int:
    try:
        for line in path.read_text().splitlines():
            if line.startswith((f"{field} ", f"total_{field} ")):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
