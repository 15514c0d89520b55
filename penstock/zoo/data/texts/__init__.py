"""The hand-written material of the generators: words, phrasings, definitions, plots; one JSON file each."""

import json
from functools import cache
from importlib import resources
from typing import Any


@cache
def load(name: str) -> Any:
    """Return the parsed file ``<name>.json`` of this folder (shared: do not change what it returns)."""
    return json.loads(resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))
