"""Triton runs compiled where CUDA is and in its interpreter elsewhere; which one is fixed when it is imported."""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason="needs a CUDA device; none is here")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)
