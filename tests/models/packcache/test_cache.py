"""A start that finds packed weights is like the one that made them, bit for bit, and reads only tables."""

import json
import logging
import os
import shutil
import subprocess
import sys
import weakref
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file, save_file

from penstock.kernels.native.experts import Experts
from penstock.kernels.native.library import why_missing
from penstock.kernels.native.packed import Packed
from penstock.models.checkpoint import Checkpoint
from penstock.models.load import load_model
from penstock.models.packcache import key as key_module
from penstock.models.packcache.cache import PackedCache
from penstock.models.packcache.flat import flatten
from penstock.models.params import ModelParams
from tests.models.families import VOCAB, make_model
from tests.models.paged import Paged

TEXT = torch.randint(3, VOCAB, (30,), generator=torch.Generator().manual_seed(5))
GIB = 2**30

pytestmark = pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A function from family to the folder of a tiny model."""
    folders = {}

    def get(family):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            make_model(family, folders[family])
        return folders[family]

    return get


@pytest.fixture
def folder(made, tmp_path):
    """A folder that a test may spoil."""
    return shutil.copytree(made("llama"), tmp_path / "model")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "kept"


def _load(folder, place=None, most=GIB, **options):
    cache = None if place is None else PackedCache(place, most, patience=60)
    return load_model(str(folder), kernels="native", cache=cache, **options)


def _logits(folder, place=None, **options):
    return Paged(_load(folder, place, **options), [TEXT]).run(0)


def _told(caplog, word):
    return [
        record.getMessage() for record in caplog.records if f"packed weights {word}" in record.getMessage()
    ]


def _tensors(params):
    for weight in flatten(params).values():
        yield from weight.parts.values() if isinstance(weight, Packed) else [weight]


def _lies_in(tensor, path):
    with open("/proc/self/maps") as maps:
        for line in maps:
            if line.rstrip().endswith(str(path)):
                first, last = (int(end, 16) for end in line.split()[0].split("-"))
                if first <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= last:
                    assert line.split()[1] == "r--s", "read-only, and shared with other processes"
                    return True
    return False


@pytest.mark.parametrize("quantization", ["none", "int8", "int4"])
@pytest.mark.parametrize("family", ["llama", "llama-bias", "gpt-neox", "qwen2-moe", "opt-post"])
def test_hit_is_miss_is_plain(made, place, caplog, family, quantization):
    """Gated and not, biases, a mixture with experts, projections, tied and untied heads."""
    caplog.set_level(logging.INFO)
    options = {"quantization": quantization}
    want = _logits(made(family), **options)
    assert torch.equal(_logits(made(family), place, **options), want)
    assert len(_told(caplog, "written to")) == 1 and not _told(caplog, "read from")
    hit = _load(made(family), place, **options)
    assert len(_told(caplog, "written to")) == 1 and len(_told(caplog, "read from")) == 1
    assert torch.equal(Paged(hit, [TEXT]).run(0), want)
    assert hit.weight_bytes() == _load(made(family), **options).weight_bytes()


def test_bfloat16(made, place):
    want = _logits(made("qwen2"), dtype="bfloat16")
    for _ in range(2):
        assert torch.equal(_logits(made("qwen2"), place, dtype="bfloat16"), want)


def test_both_starts_end_with_nothing_but_the_mapping(made, place):
    for _ in range(2):
        params = _load(made("qwen2-moe"), place)._params
        (path,) = place.glob("*.packed")
        assert all(_lies_in(tensor, path) for tensor in _tensors(params))
    assert isinstance(params.blocks[1].experts_up[5], Packed)
    assert isinstance(params.blocks[1].experts_down, Experts), "one call takes them all, as after packing"


def test_what_was_made_is_let_go(place):
    refs = []

    def make():
        head = Packed(torch.ones(64, 64))
        refs.append(weakref.ref(head))
        return ModelParams(embed=head, head=head, blocks=[])

    params = PackedCache(place, GIB).load("key", make)
    assert refs[0]() is None and params.embed is params.head
    assert torch.equal(params.head.rows(torch.tensor([63])), torch.ones(1, 64))


def test_a_hit_does_not_read_the_checkpoint(made, place, monkeypatch):
    want, reads = _logits(made("llama"), place), []
    read = Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda self, name: reads.append(name) or read(self, name))
    assert torch.equal(_logits(made("llama"), place), want)
    assert reads == []
    _load(made("llama"))
    assert len(reads) > 20, "the counter counts"


def test_a_tied_embedding_is_held_once(made, place):
    for where in (None, place, place):
        tied = _load(made("qwen2"), where)
        assert tied._params.embed is tied._params.head
        names = [field.name for field in fields(ModelParams) if field.name not in ("head", "blocks")]
        parts = [getattr(tied._params, name) for name in names]
        parts += [w for name, w in flatten(tied._params).items() if name[0].isdigit()]
        tables = sum(table.nbytes() for table in tied._ropes)
        assert tied.weight_bytes() == sum(part.nbytes for part in parts if part is not None) + tables
    rounded = _load(made("qwen2"), place, quantization="int8")._params
    assert isinstance(rounded.embed, torch.Tensor) and isinstance(rounded.head, Packed)
    plain = load_file(made("qwen2") / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(rounded.embed, plain), "the rounded head has no exact rows"
    assert torch.equal(tied.ops.lookup(torch.arange(len(plain)), tied._params.embed), plain)


def test_a_changed_checkpoint_is_packed_anew(folder, place):
    before, path = _logits(folder, place), folder / "model.safetensors"
    save_file({name: tensor * 1.5 for name, tensor in load_file(path).items()}, path)
    assert len(list(place.glob("*.packed"))) == 1
    after = _logits(folder, place)
    assert torch.equal(after, _logits(folder)) and not torch.equal(after, before)
    assert len(list(place.glob("*.packed"))) == 2


def test_whatever_decides_the_bits_is_in_the_key(folder, place, monkeypatch):
    def kept():
        return len(list(place.glob("*.packed")))

    def touch():
        os.utime(folder / "model.safetensors", ns=(1, 1))

    def header():
        """Another table of the same size, at the same time."""
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data.replace(b'"format":"pt"', b'"format":"np"', 1))
        touch()

    def config():
        told = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(told | {"rms_norm_eps": 0.25}))

    def layout():
        monkeypatch.setattr(key_module.packed, "layout_version", lambda: 1000)

    def code():
        monkeypatch.setattr(key_module, "_code", lambda: "other")

    _load(folder, place)
    for count, change in enumerate((lambda: None, touch, header, config, layout, code)):
        change()
        _load(folder, place)
        assert kept() == count + 1, change
    for count, options in enumerate(
        ({"dtype": "bfloat16"}, {"quantization": "int8"}, {"quantization": "int4"},
         {"quantization": "int4", "quantization_group": 64}), kept() + 1
    ):  # fmt: skip
        _load(folder, place, **options)
        assert kept() == count, options
    for options in ({"batch_invariant": True}, {"max_model_len": 64}, {"attention": "torch"}):
        _load(folder, place, **options)
    assert kept() == count, "the same weights serve"


@pytest.mark.parametrize("damage", ["empty", "half", "header", "facts", "folder"])
def test_a_damaged_file_is_made_anew(folder, place, caplog, damage):
    caplog.set_level(logging.INFO)
    want = _logits(folder, place)
    (path,) = place.glob("*.packed")
    whole = path.read_bytes()
    if damage == "facts":  # sound, but of another version's form
        PackedCache(place, GIB)._store.write(path.stem, {"blocks": 3}, {"0.qkv": torch.ones(2)})
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {"empty": b"", "half": whole[: len(whole) // 2], "header": whole[:70] + b"?" + whole[71:]}[damage]
        )
    caplog.clear()
    assert torch.equal(_logits(folder, place), want)
    assert any(
        record.levelname == "WARNING" and "cannot be used" in record.message for record in caplog.records
    )
    if damage != "folder":
        assert path.read_bytes() == whole and len(_told(caplog, "written to")) == 1
        assert torch.equal(_logits(folder, place), want) and len(_told(caplog, "read from")) == 1


def test_a_folder_that_cannot_be_written_is_a_warning(made, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    logits = _logits(made("llama"), tmp_path / "file" / "kept")
    assert torch.equal(logits, _logits(made("llama")))
    assert "are not kept" in caplog.text and "Not a directory" in caplog.text


def test_weights_larger_than_the_cache_are_a_warning(made, place, caplog):
    assert torch.equal(_logits(made("llama"), place, most=1000), _logits(made("llama")))
    assert "are not kept" in caplog.text and list(place.iterdir()) == []


def test_somebody_else_packs_for_too_long(made, place):
    with PackedCache(place, GIB)._store.lock("key", 0) as ours:
        assert ours
        head = Packed(torch.ones(64, 64))
        params = PackedCache(place, GIB, patience=0).load("key", lambda: ModelParams(head, head, []))
    assert params.head is head and list(place.glob("*.packed")) == []


def test_only_what_the_kernels_take_is_kept(made, place):
    cache = PackedCache(place, GIB)
    load_model(str(made("llama")), kernels="torch", cache=cache)
    load_model(str(made("llama")), kernels="native", load_format="dummy", cache=cache)
    load_model(str(made("llama")), kernels="native", dtype="float16", cache=cache)  # nothing is packed
    assert list(place.glob("*.packed")) == []


SCRIPT = """
import sys, time, torch
from pathlib import Path
from penstock.kernels.native.packed import Packed
from penstock.models.packcache.cache import PackedCache
from penstock.models.params import ModelParams

def make():
    print("made", flush=True)
    time.sleep(2)
    head = Packed(torch.arange(4096.0).view(64, 64))
    return ModelParams(head, head, [])

print("ready", flush=True)
sys.stdin.readline()
params = PackedCache(Path(sys.argv[1]), 2**30).load("key", make)
print(float(params.head.rows(torch.tensor([63])).sum()))
"""


def test_processes_that_start_together_pack_once(place):
    command = [sys.executable, "-c", SCRIPT, str(place)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert all(process.stdout.readline() == "ready\n" for process in running)
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=200)[0].split() for process in running]
    assert sorted(len(lines) for lines in told) == [1, 1, 2], told
    assert {lines[-1] for lines in told} == {str(float(sum(range(63 * 64, 4096))))}
    assert [path.name for path in place.iterdir()] == ["key.packed"]
