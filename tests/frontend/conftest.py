import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "engine_boundary")]


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A folder with the tiny byte-level tokenizer; enough of a model for the fake engine."""
    from tokenizers_for_tests import fast

    folder = tmp_path_factory.mktemp("model")
    fast().save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    return folder
