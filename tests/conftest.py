"""Before anything imports Triton: without a CUDA device its kernels are run by its interpreter."""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")
