"""The zoo: small models that the project trains itself, with their data, recipes and skill tests.

Importing this package is cheap: it imports neither torch nor transformers.
"""

from importlib import resources
from pathlib import Path

__all__ = ["BUNDLED_MODEL", "bundled_model_path", "named_model", "public_name"]

BUNDLED_MODEL = "penstock-chat"
"""Name of the model that ships inside the package and is served by default."""


def bundled_model_path(name: str = BUNDLED_MODEL) -> Path:
    """Return the folder of a model shipped inside the package.

    Args:
        name: folder name below ``penstock/zoo/weights``.

    Returns:
        An existing folder in ordinary Hugging Face layout.

    Raises:
        FileNotFoundError: no such model is shipped; the message lists those that are.
    """
    weights = Path(str(resources.files("penstock.zoo").joinpath("weights")))
    folder = weights / name
    if not (folder / "config.json").is_file():
        shipped = sorted(path.parent.name for path in weights.glob("*/config.json"))
        raise FileNotFoundError(f"no bundled model named {name!r} in {weights}; shipped: {shipped or 'none'}")
    return folder


def named_model(name: str) -> str:
    """Return what the setting of a model means: a shipped model's folder, or the name as it is.

    Args:
        name: empty for the default model, a shipped one's (``penstock-`` may be left out), or anything else:
            a folder (which goes before a shipped model of that name) or a name on the hub.

    Raises:
        FileNotFoundError: empty, and the default model is not there.
    """
    if name == "":
        return str(bundled_model_path())
    if "/" in name or Path(name).exists():
        return name
    for known in (name, f"penstock-{name}"):
        try:
            return str(bundled_model_path(known))
        except FileNotFoundError:
            continue
    return name


def public_name(name: str) -> str:
    """Return clients' name for what `named_model` means: a folder's last part, or a hub name as it is.

    Raises:
        FileNotFoundError: see `named_model`.
    """
    model = named_model(name)
    return Path(model).resolve().name if Path(model).is_dir() else model
