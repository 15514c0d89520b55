"""Rotary frequencies against transformers' own, and tables that do not depend on how far they were grown."""

from types import SimpleNamespace

import pytest
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from penstock.core.errors import ConfigError
from penstock.models.families.base import read_rope, rope_fields
from penstock.models.families.gemma import GemmaAdapter
from penstock.models.rope import RopeTable, inverse_frequencies
from penstock.models.spec import RopeSpec
from tests.models.families import FAMILIES


def _read(config):
    return read_rope(config, config.head_dim, rope_fields(config))


@pytest.mark.parametrize("kind", ["linear", "dynamic", "llama3", "yarn"])
def test_frequencies_equal_transformers(kind):
    config = FAMILIES[f"llama-{kind}"]()
    want, scale = ROPE_INIT_FUNCTIONS[kind](config, None)
    rope = _read(config)
    torch.testing.assert_close(inverse_frequencies(rope, 512), want, rtol=2e-6, atol=0)
    assert rope.attention_factor == pytest.approx(scale)


@pytest.mark.parametrize("length", [512, 513, 900])
def test_dynamic_stretches_for_the_context(length):
    config = FAMILIES["llama-dynamic"]()
    want, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, None, seq_len=length)
    torch.testing.assert_close(inverse_frequencies(_read(config), length), want, rtol=2e-6, atol=0)


@pytest.mark.parametrize("length", [40, 64, 65, 512])
def test_longrope_picks_by_the_context(length):
    config = FAMILIES["phi3-longrope"]()
    want, scale = ROPE_INIT_FUNCTIONS["longrope"](config, None, seq_len=length)
    rope = read_rope(config, 16, rope_fields(config))
    torch.testing.assert_close(inverse_frequencies(rope, length), want, rtol=2e-6, atol=0)
    assert rope.attention_factor == pytest.approx(scale)


@pytest.mark.parametrize(
    "fields",
    [
        {"factor": 4.0, "beta_fast": 16, "beta_slow": 2, "truncate": False},
        {"factor": 8.0, "attention_factor": 1.5},
        {"factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.8},
    ],
)
def test_yarn_options(fields):
    from transformers import LlamaConfig

    rope = {"rope_type": "yarn", "rope_theta": 5e4, "original_max_position_embeddings": 128, **fields}
    config = LlamaConfig(head_dim=32, max_position_embeddings=512, rope_parameters=rope)
    want, scale = ROPE_INIT_FUNCTIONS["yarn"](config, None)
    got = _read(config)
    torch.testing.assert_close(inverse_frequencies(got, 512), want, rtol=2e-6, atol=0)
    assert got.attention_factor == pytest.approx(scale)


def test_configs_of_transformers_4():
    """The older spelling, side by side in the config, reads as the newer one does."""
    old = SimpleNamespace(
        rope_theta=500000.0,
        rope_scaling={
            "type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
        max_position_embeddings=512,
        head_dim=16,
    )
    new = SimpleNamespace(
        rope_parameters={**old.rope_scaling, "rope_type": "llama3", "rope_theta": 500000.0},
        max_position_embeddings=512,
        head_dim=16,
    )
    assert _read(old) == _read(new)
    assert _read(
        SimpleNamespace(rope_scaling=None, rope_theta=9.0, max_position_embeddings=7, head_dim=8)
    ) == (RopeSpec(dim=8, theta=9.0, original_max=7, max_position=7))
    neox = SimpleNamespace(rotary_pct=0.25, rotary_emb_base=77.0, max_position_embeddings=7, head_dim=16)
    assert (_read(neox).dim, _read(neox).theta) == (4, 77.0)


def test_gemma3_of_transformers_4():
    new = FAMILIES["gemma3"]()
    fields = {name: getattr(new, name) for name in vars(new) if not name.startswith("_")}
    fields |= {
        "rope_parameters": None,
        "rope_theta": 50000.0,
        "rope_local_base_freq": 1000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "num_attention_heads": 4,
    }
    old = SimpleNamespace(**fields)
    adapter = GemmaAdapter(third=True)
    assert adapter.spec(old).ropes == adapter.spec(new).ropes


def test_bad_scalings_are_named():
    base = {"max_position_embeddings": 64, "head_dim": 8, "rope_theta": 1.0}
    with pytest.raises(ConfigError, match=r"expected one of default, linear, .*, got 'spiral'"):
        _read(SimpleNamespace(rope_scaling={"rope_type": "spiral"}, **base))
    with pytest.raises(ConfigError, match="kind 'llama3' needs the field 'factor'"):
        _read(SimpleNamespace(rope_scaling={"rope_type": "llama3"}, **base))


def test_tables_grow_without_changing():
    rope = RopeSpec(dim=20, theta=10000.0, max_position=20000, attention_factor=1.25)
    slow, fast = (RopeTable(rope, 20000, torch.device("cpu")) for _ in range(2))
    positions = torch.tensor([0, 1, 4095, 4096, 9000, 19999])
    for length in (1, 4000, 5000, 9001, 20000):
        slow.reach(length)
    fast.reach(20000)
    for grown, whole in zip(slow.at(positions), fast.at(positions), strict=True):
        assert torch.equal(grown, whole)
    angle = positions[:, None].double() * (10000.0 ** -(torch.arange(10).double() / 10))
    torch.testing.assert_close(fast.at(positions)[0].double(), angle.cos() * 1.25, atol=2e-3, rtol=0)
