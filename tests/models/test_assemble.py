"""Parameters are packed as they come: of no block but the one at hand do the sources live."""

import weakref

import pytest
import torch

from penstock.kernels.native.library import why_missing
from penstock.kernels.ops import TorchOps
from penstock.models.assemble import assemble
from penstock.models.families import adapter_for
from penstock.models.load import read_spec
from penstock.models.pack import Packer, Rounding
from tests.models.families import make_model

FLAT = ("qkv", "out", "up", "down")


@pytest.mark.skipif(why_missing() is not None, reason=why_missing() or "")
@pytest.mark.parametrize("rounding", [Rounding(), Rounding(4, 32)])
def test_one_block_at_a_time(tmp_path, rounding):
    from penstock.kernels.native.ops import NativeOps

    make_model("llama", tmp_path)
    spec = read_spec(tmp_path)
    _, adapter = adapter_for([spec.architecture])
    alive, most = {}, []

    def fill(param):
        tensor = torch.ones(param.shape)
        if param.name.rpartition(".")[2] in FLAT:
            alive[param.name] = weakref.ref(tensor)
        most.append(len({name.split(".")[0] for name, ref in alive.items() if ref() is not None}))
        return tensor

    params = assemble(adapter.params(spec), spec, fill, Packer(NativeOps(TorchOps()), rounding))
    assert len(alive) == len(FLAT) * len(spec.blocks) and max(most) == 1
    assert [block.qkv.shape for block in params.blocks] == [params.blocks[0].qkv.shape] * len(spec.blocks)
