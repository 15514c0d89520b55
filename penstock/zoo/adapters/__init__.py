"""LoRA adapters of the chat model: what each does, how it is trained, and how one tells that it was applied.

Importing this package is cheap: it imports neither torch, transformers nor peft.
"""

from pathlib import Path

from penstock.zoo.adapters.registry import ADAPTERS, Adapter

__all__ = ["ADAPTERS", "Adapter", "adapters_path", "shipped_adapters"]


def adapters_path() -> Path:
    """Return the folder inside the package that holds one PEFT folder for each shipped adapter."""
    return Path(__file__).parent.parent / "weights" / "adapters"


def shipped_adapters(folder: Path | None = None) -> dict[str, Path]:
    """Return the adapters in ``folder`` (the package's by default): name to PEFT folder, sorted by name."""
    found = sorted((folder or adapters_path()).glob("*/adapter_config.json"))
    return {path.parent.name: path.parent for path in found}
