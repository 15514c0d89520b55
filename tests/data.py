"""Where the public measurements and traces lie that some tests read; those tests skip without them."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def data_path(*parts: str) -> Path:
    """Return a file or folder of the data folder, or skip the test with a message that says what is missing.

    The folder is the environment's PENSTOCK_DATA, else `shared/data` in the repository or beside or above it.
    """
    named = os.environ.get("PENSTOCK_DATA")
    roots = [Path(named)] if named else [p / "shared" / "data" for p in (REPOSITORY, *REPOSITORY.parents)]
    for root in roots:
        if root.joinpath(*parts).exists():
            return root.joinpath(*parts)
    tried = ", ".join(str(root) for root in roots)
    pytest.skip(f"{'/'.join(parts)} is not in {tried}; set PENSTOCK_DATA to the folder that has it")
