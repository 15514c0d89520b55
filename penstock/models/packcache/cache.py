"""Packed weights from the cache if it has them, else made, kept, and used from where they are kept."""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable
from pathlib import Path

from penstock.kernels.native.packed import Packed
from penstock.models.packcache.blobs import Damaged
from penstock.models.packcache.flat import flatten
from penstock.models.packcache.freeze import freeze, thaw
from penstock.models.packcache.store import Store
from penstock.models.params import ModelParams

log = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds to wait for another process that packs the same weights: about what packing oneself would take."""


class PackedCache:
    """Never fatal: what is wrong with a file, the folder or the disk is a warning, and weights are packed.

    Args:
        folder: where the files lie.
        most: bytes that they may take together; the longest unused go first.
        patience: see `PATIENCE`.
    """

    def __init__(self, folder: Path, most: int, patience: float = PATIENCE) -> None:
        self._store = Store(folder, most)
        self._patience = patience

    def load(self, key: str, make: Callable[[], ModelParams]) -> ModelParams:
        """Return a model's parameters, mapped from a file wherever that can be had.

        Args:
            key: of `penstock.models.packcache.key.content_key`.
            make: reads the checkpoint and packs.
        """
        found = self._read(key)
        if found is not None:
            return found
        with self._store.lock(key, self._patience) as ours:
            found = self._read(key)  # another process may have written it while this one waited
            if found is not None:
                return found
            params = make()
            if not ours or not any(isinstance(weight, Packed) for weight in flatten(params).values()):
                return params
            if not self._write(key, params):
                return params
        mapped = self._read(key, told=False)
        if mapped is None:
            return params
        del params
        _give_back()
        return mapped

    def _read(self, key: str, *, told: bool = True) -> ModelParams | None:
        began, path = time.monotonic(), self._store.path(key)
        try:
            found = self._store.read(key)
            params = None if found is None else thaw(*found)
        except (OSError, Damaged, KeyError, TypeError, ValueError) as error:
            log.warning("packed weights in %s cannot be used, packing anew: %s", path, error)
            if not isinstance(error, OSError):
                self._store.drop(key)
            return None
        if params is not None and told:
            log.info("packed weights read from %s in %.2f s", path, time.monotonic() - began)
        return params

    def _write(self, key: str, params: ModelParams) -> bool:
        began, path = time.monotonic(), self._store.path(key)
        try:
            self._store.write(key, *freeze(params))
        except (OSError, TypeError, ValueError) as error:
            log.warning("packed weights are not kept in %s, the next start will pack again: %s", path, error)
            return False
        log.info("packed weights written to %s in %.2f s", path, time.monotonic() - began)
        return True


def _give_back() -> None:
    """Hand freed memory back to the system: glibc would keep much of a model that came in many pieces."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
