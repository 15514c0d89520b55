"""One tiny model for all tests of this folder."""

import pytest
import torch

from tests.executors.tiny import make_llama

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """(folder, transformers model)."""
    folder = tmp_path_factory.mktemp("llama")
    return folder, make_llama(folder)
