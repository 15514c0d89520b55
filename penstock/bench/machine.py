"""What a result was measured on: hardware, system and versions. Reads, never changes, the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "penstock",
    "torch",
    "transformers",
    "tokenizers",
    "xgrammar",
    "llguidance",
    "safetensors",
    "triton",
    "numpy",
    "msgspec",
    "pyzmq",
    "fastapi",
    "uvicorn",
    "pydantic",
    "httpx",
)
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_tile", "amx_bf16", "amx_int8")


def versions() -> dict[str, str]:
    """Return the version of Python and of every installed package that matters."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    commit = _git_commit()
    return found | ({"commit": commit} if commit else {})


def machine(*, devices: bool = False) -> dict[str, Any]:
    """Return the machine: system, processor, cores usable by this process, memory.

    Args:
        devices: also ask torch for accelerators, which takes seconds to import.
    """
    info: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "arch": platform.machine(),
        "cpu": _cpu_model(),
        "cpu_features": _cpu_features(),
        "cores_usable": _usable_cores(),
        "cores_total": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
    }
    if devices:
        info["devices"] = _devices()
    return info


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpu_features() -> list[str]:
    present = set(_cpuinfo("flags").split())
    return [flag for flag in _CPU_FLAGS if flag in present]


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def _devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _git_commit() -> str:
    """Return the commit of a source checkout, or nothing when installed from a wheel."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def command_line() -> str:
    """Return the command that is running, as typed, with the values of keys masked."""
    words = [Path(sys.argv[0]).name]
    hide = False
    for word in sys.argv[1:]:
        words.append("***" if hide else word)
        name, has_value, _ = word.partition("=")
        secret = name.startswith("--") and name.endswith("api-key")
        hide = secret and not has_value
        if secret and has_value:
            words[-1] = f"{name}=***"
    return " ".join(words)
