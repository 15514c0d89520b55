"""Triton runs compiled where CUDA is, and in its interpreter elsewhere: settled when it is imported.

If something imported it before the interpreter was asked for, the tests here run in a process of their own.
"""

import os
import sys

import pytest
import torch

CUDA = torch.cuda.is_available()
LATE = not CUDA and "triton" in sys.modules and os.environ.get("TRITON_INTERPRET") != "1"
if LATE:
    collect_ignore_glob = ["test_[!o]*.py"]
elif not CUDA:
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    if not CUDA:
        skip = pytest.mark.skip(reason="needs a CUDA device, and none is here")
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(skip)
