"""The folder of packed weights: a file a key, written whole or not at all; the longest unused go first."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from penstock.models.packcache.blobs import map_blobs, write_blobs

log = logging.getLogger(__name__)

_SUFFIX, _LOCK, _UNDONE = ".packed", ".lock", ".tmp"
_SPARE = 2**30
"""Bytes of the disk that are left to others."""
_ABANDONED = 24 * 3600.0
"""Seconds after which a file that is not done will never be: its writer was killed."""


class Store:
    """Files of blobs by key.

    Args:
        folder: made when something is written.
        most: bytes that its files may take.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most

    def path(self, key: str) -> Path:
        """Return where the file of a key lies, if it is there."""
        return self._folder / (key + _SUFFIX)

    def read(self, key: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """Map the file of a key; None if there is none.

        Raises:
            Damaged: it is not what was written.
            OSError: it is there and cannot be read.
        """
        path = self.path(key)
        try:
            found = map_blobs(path)
        except FileNotFoundError:
            return None
        with contextlib.suppress(OSError):  # in a folder that is only read, others see to what is deleted
            os.utime(path)
        return found

    def write(self, key: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write the file of a key, in place of the one that may be there.

        Raises:
            OSError: it does not fit, or cannot be written; nothing is left of it.
        """
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size > self._most:
            raise OSError(errno.EFBIG, f"{size} bytes of weights are more than the {self._most} of the cache")
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(size, key)
        if size + _SPARE > shutil.disk_usage(self._folder).free:
            raise OSError(errno.ENOSPC, f"{size} bytes of weights leave too little room on the disk")
        handle, name = tempfile.mkstemp(suffix=_UNDONE, prefix=f"{key}.", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                write_blobs(file, facts, tensors)
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine could leave zeros under the name
            os.replace(name, self.path(key))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def drop(self, key: str) -> None:
        """Delete the file of a key, if that can be."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(key))

    @contextlib.contextmanager
    def lock(self, key: str, patience: float) -> Iterator[bool]:
        """Hold the lock of a key, so that what several processes miss is packed once.

        Writing is safe without it, so nothing is lost where locks do not work, or are deleted.

        Args:
            key: of the file.
            patience: seconds to wait for whoever has it.

        Yields:
            Whether to write: not while somebody else holds the lock for longer than that.
        """
        path = self._folder / (key + _LOCK)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            yield True  # and let writing say what is wrong with the folder
            return
        held = _locked(handle, patience)
        try:
            yield held
        finally:
            if held:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            os.close(handle)

    def _make_room(self, size: int, key: str) -> None:
        """Delete the longest unused until ``size`` bytes fit, and what was never finished."""
        files = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(OSError):  # deleted meanwhile by another process
                stat = entry.stat()
                if entry.name.endswith(_UNDONE) and time.time() - stat.st_mtime > _ABANDONED:
                    os.unlink(entry.path)
                elif entry.name.endswith(_SUFFIX) and entry.name != key + _SUFFIX:
                    files.append((stat.st_mtime_ns, stat.st_size, entry.path))
        total = sum(bytes_ for _, bytes_, _ in files)
        for _, bytes_, path in sorted(files):
            if total + size <= self._most:
                break
            log.info("deleting packed weights that were not used for longest: %s", path)
            with contextlib.suppress(OSError):
                os.unlink(path)
            total -= bytes_


def _locked(handle: int, patience: float) -> bool:
    """Try to lock a file for some time; a file system without locks counts as success."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        except OSError:
            return True
        else:
            return True
