"""Tiny models, made once per family and session."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import transformers as tf

from penstock.kernels.native.library import why_missing
from penstock.models.decoder import Decoder
from penstock.models.load import load_model
from tests.models.families import make_model

torch.set_num_threads(1)


class Tiny(NamedTuple):
    """A family's checkpoint, the transformers model it came from, and ours."""

    folder: Path
    oracle: tf.PreTrainedModel
    decoder: Decoder

    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return transformers' own logits of one text."""
        with torch.no_grad():
            return self.oracle(tokens[None]).logits[0].float()


@pytest.fixture(scope="session", params=["torch", "native"])
def kernels(request):
    """The dense operations: every test of a model runs with both."""
    if request.param == "native" and (reason := why_missing()):
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, kernels):
    """A function from family name to `Tiny`."""
    made: dict[str, Tiny] = {}

    def get(family: str) -> Tiny:
        if family not in made:
            folder = tmp_path_factory.mktemp(family)
            oracle = make_model(family, folder)
            decoder = load_model(str(folder), kernels=kernels)
            made[family] = Tiny(folder, oracle, decoder)
        return made[family]

    return get
