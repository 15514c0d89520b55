"""The folder: room is made by deleting what was not used for longest, and nobody sees half a file."""

import errno
import os
import shutil
import threading
import time

import pytest
import torch

from penstock.models.packcache import store as module
from penstock.models.packcache.store import Store

KIB = 1024


def _write(store, key, size=KIB):
    store.write(key, {"key": key}, {"x": torch.zeros(size, dtype=torch.uint8)})


def _age(store, key, seconds):
    when = time.time() - seconds
    os.utime(store.path(key), (when, when))


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_write_and_read(tmp_path):
    store = Store(tmp_path / "made" / "on the way", 10 * KIB)
    assert store.read("a") is None
    _write(store, "a")
    facts, tensors = store.read("a")
    assert facts == {"key": "a"} and tensors["x"].shape == (KIB,)
    store.drop("a")
    store.drop("a")
    assert store.read("a") is None


def test_the_longest_unused_go_first(tmp_path):
    store = Store(tmp_path, 5 * KIB)  # each file has a header besides its KiB: three fit
    for age, key in enumerate("abc"):
        _write(store, key)
        _age(store, key, 1000 - age)
    assert store.read("a") is not None  # used again: now b is the oldest
    _write(store, "d", 2 * KIB)
    assert _names(tmp_path) == ["a.packed", "c.packed", "d.packed"]
    _write(store, "d", 2 * KIB)  # in place of itself: nobody has to go
    assert _names(tmp_path) == ["a.packed", "c.packed", "d.packed"]


def test_too_much_for_the_cache_deletes_nobody(tmp_path):
    store = Store(tmp_path, 2 * KIB)
    _write(store, "a")
    with pytest.raises(OSError, match="more than the 2048 of the cache"):
        _write(store, "b", 3 * KIB)
    assert _names(tmp_path) == ["a.packed"]


def test_what_was_never_finished_goes_after_a_day(tmp_path):
    store = Store(tmp_path, 10 * KIB)
    for name, age in (("old.tmp", 2 * 86400), ("new.tmp", 60), ("stranger", 2 * 86400)):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    _write(store, "a")
    assert _names(tmp_path) == ["a.packed", "new.tmp", "stranger"]


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    store = Store(tmp_path, 10 * KIB)

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            _write(store, "a")
    assert _names(tmp_path) == []
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=module._SPARE))
    with pytest.raises(OSError, match="too little room"):
        _write(store, "a")
    assert _names(tmp_path) == []


def test_a_reader_keeps_what_is_replaced_or_deleted(tmp_path):
    store = Store(tmp_path, 10 * KIB)
    store.write("a", {}, {"x": torch.full((5,), 1.0)})
    before = store.read("a")[1]["x"]
    store.write("a", {}, {"x": torch.full((5,), 2.0)})
    assert store.read("a")[1]["x"].tolist() == [2.0] * 5
    store.drop("a")
    assert before.tolist() == [1.0] * 5


def test_one_holds_the_lock(tmp_path):
    store, inside, order = Store(tmp_path, KIB), threading.Event(), []

    def first():
        with store.lock("a", 0) as ours:
            order.append(("first", ours))
            inside.set()
            time.sleep(0.5)
            order.append(("first", "leaves"))

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with store.lock("a", 0) as ours, store.lock("b", 0) as other:
        order.append(("impatient", ours))
        assert other, "another key is another lock"
    with store.lock("a", 60) as ours:
        order.append(("patient", ours))
    thread.join()
    assert order == [("first", True), ("impatient", False), ("first", "leaves"), ("patient", True)]
    assert _names(tmp_path) == []


def test_where_no_lock_can_be(tmp_path):
    (tmp_path / "file").write_text("")
    with Store(tmp_path / "file" / "x", KIB).lock("a", 0) as ours:
        assert ours
