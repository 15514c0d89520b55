"""What a run was made on: one entry for every time that it was started or continued."""

import json
import platform
from pathlib import Path

import torch


def processor(device: str = "cpu") -> str:
    """Return the name of the processor or accelerator."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def note_machine(run: Path, threads: int, compiled: bool, device: str) -> None:
    """Add this sitting to ``run/machine.json``."""
    path = run / "machine.json"
    sittings = json.loads(path.read_text()) if path.exists() else []
    sittings.append(
        {"processor": processor(device), "threads": threads, "compiled": compiled, "torch": torch.__version__}
    )
    path.write_text(json.dumps(sittings, indent=1) + "\n")
