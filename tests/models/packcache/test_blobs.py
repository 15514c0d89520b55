"""The file: what comes back, where it lies, and what is noticed of damage."""

import pytest
import torch

from penstock.models.packcache.blobs import Damaged, map_blobs, write_blobs

TENSORS = {
    "codes": torch.arange(300, dtype=torch.uint8).reshape(30, 10),
    "half": torch.randn(7).half(),
    "bf": torch.randn(3, 5).bfloat16(),
    "order": torch.randperm(9),
    "none": torch.zeros(0, 4),
    "one": torch.tensor(2.5),
    "turned": torch.arange(12.0).reshape(3, 4).T,
}
FACTS = {"name": "größe", "list": [1, 2]}


@pytest.fixture
def path(tmp_path):
    with (tmp_path / "blobs").open("wb") as file:
        write_blobs(file, FACTS, TENSORS)
    return tmp_path / "blobs"


def test_what_was_written_comes_back_on_cache_lines(path):
    facts, tensors = map_blobs(path)
    assert facts == FACTS and set(tensors) == set(TENSORS)
    for name, tensor in tensors.items():
        assert tensor.dtype == TENSORS[name].dtype and torch.equal(tensor, TENSORS[name]), name
        assert tensor.data_ptr() % 64 == 0 or not tensor.numel()


def test_the_mapping_lives_as_long_as_a_tensor_of_it(path):
    order = map_blobs(path)[1]["order"]
    path.unlink()
    assert torch.equal(order, TENSORS["order"])


def test_nothing_to_write(tmp_path):
    with (tmp_path / "empty").open("wb") as file:
        write_blobs(file, {}, {})
    assert map_blobs(tmp_path / "empty") == ({}, {})


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 100, -64, -1])
def test_a_file_that_was_cut_off(path, cut):
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    with pytest.raises(Damaged):
        map_blobs(path)


def test_a_file_that_goes_on(path):
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Damaged, match="bytes of"):
        map_blobs(path)


def test_every_bit_of_start_and_header_counts(path):
    whole = path.read_bytes()
    end = 64 + int.from_bytes(whole[16:24], "little")
    for at in [*range(64), *range(64, end, 7), end - 1]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(Damaged):
            map_blobs(path)


def test_a_type_that_files_do_not_hold(tmp_path):
    with (tmp_path / "x").open("wb") as file, pytest.raises(ValueError, match="complex64"):
        write_blobs(file, {}, {"x": torch.zeros(2, dtype=torch.complex64)})
