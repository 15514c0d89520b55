"""A file of tensors that are used where they lie: a header, and numbers on cache lines.

Not safetensors, whose writer puts tensors on multiples of 8 bytes where kernels load whole cache lines, and
which has no room for a checksum of its header. The file is 64 bytes of magic, lengths and SHA-256 of the
header; the header, JSON; and the tensors, each on a multiple of 64.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

_MAGIC = b"penstock packed\n"
_START = struct.Struct("<16sQQ32s")
"""Magic, bytes of the header, bytes of the file, digest of the header."""
_LINE = 64
_DTYPES = {"float32", "bfloat16", "float16", "uint8", "int64"}


class Damaged(Exception):
    """The file is not what was written."""


def write_blobs(file: BinaryIO, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write facts (JSON) and tensors into an empty file.

    Raises:
        OSError: it cannot be written.
        ValueError: a dtype that files do not hold.
    """
    table: dict[str, tuple[str, list[int], int]] = {}
    end = 0
    for name, tensor in tensors.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in _DTYPES:
            raise ValueError(f"{name} is of {dtype}; files hold {', '.join(sorted(_DTYPES))}")
        table[name] = (dtype, list(tensor.shape), end)
        end = _up(end + tensor.nbytes)
    header = json.dumps({"facts": facts, "tensors": table}).encode()
    first = _up(_START.size + len(header))
    file.write(_START.pack(_MAGIC, len(header), first + end, hashlib.sha256(header).digest()))
    file.write(header)
    for name, tensor in tensors.items():
        file.seek(first + table[name][2])
        file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    file.truncate(first + end)


def map_blobs(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return facts and tensors of a file; the tensors are read-only and lie in its mapping.

    Raises:
        OSError: there is none, or it cannot be read.
        Damaged: it is cut off, or its header is not what was written.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_START.size)
        if len(start) < _START.size:
            raise Damaged(f"{size} bytes are not even a start")
        magic, length, total, digest = _START.unpack(start)
        if magic != _MAGIC:
            raise Damaged("it is no file of packed weights")
        if size != total:
            raise Damaged(f"it has {size} bytes of {total}")
        header = file.read(min(length, size))
        if hashlib.sha256(header).digest() != digest:
            raise Damaged("its header does not have the checksum that it was written with")
        memory = _mapped(file, size)
    told, first = json.loads(header), _up(_START.size + length)
    tensors = {}
    for name, (dtype, shape, at) in told["tensors"].items():
        kind = getattr(torch, dtype)
        stop = first + at + math.prod(shape) * kind.itemsize
        tensors[name] = memory[first + at : stop].view(kind).view(shape)
    return told["facts"], tensors


def _mapped(file: BinaryIO, size: int) -> Tensor:
    mapping = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_WILLNEED"):
        # Every step will read all of it: the disk may as well begin now, and in order.
        mapping.madvise(mmap.MADV_WILLNEED)
    with warnings.catch_warnings():
        # torch cannot mark a tensor as read-only and says so; the processor holds to it.
        warnings.filterwarnings("ignore", "The given buffer is not writable", UserWarning)
        return torch.frombuffer(mapping, dtype=torch.uint8)


def _up(count: int) -> int:
    return -(-count // _LINE) * _LINE
