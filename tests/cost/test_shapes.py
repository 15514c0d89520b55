"""Sizes of models, against the counts that their makers state, and the reading of configs."""

import pytest

from penstock.core.errors import ConfigError
from penstock.cost.models import model_shape
from penstock.cost.shapes import from_config

BILLIONS = {
    "llama-2-7b": 6.74,
    "llama-2-13b": 13.02,
    "llama-2-70b": 68.98,
    "llama-3.1-8b": 8.03,
    "llama-3.1-70b": 70.55,
    "yi-34b": 34.39,
    "opt-13b": 12.85,
    "opt-66b": 65.7,
    "mixtral-8x7b": 46.70,
    "qwen3-30b-a3b": 30.53,
    "qwen3-32b": 32.76,
    "qwen3-0.6b": 0.596,
    "gpt-oss-20b": 20.91,
}
KV_KIB = {"llama-2-7b": 512, "llama-3.1-8b": 128, "llama-3.1-70b": 320, "qwen3-30b-a3b": 96}


@pytest.mark.parametrize("name", BILLIONS)
def test_parameters_are_those_the_makers_count(name):
    m = model_shape(name)
    total = m.dense_params + m.moe_layers * m.experts * m.expert_params + m.head_params * (1 if m.tied else 2)
    assert total / 1e9 == pytest.approx(BILLIONS[name], rel=0.005)


def test_kv_of_a_token():
    assert {name: model_shape(name).kv_bytes_per_token / 1024 for name in KV_KIB} == KV_KIB


def test_active_parameters_of_a_mixture():
    assert model_shape("qwen3-30b-a3b").active_params / 1e9 == pytest.approx(2.7, rel=0.02)
    assert model_shape("mixtral-8x7b").active_params / 1e9 == pytest.approx(12.6, rel=0.01)


def test_names_may_carry_an_organisation_and_a_suffix():
    assert model_shape("meta-llama/Llama-3.1-8B-Instruct") == model_shape("llama-3.1-8b")
    with pytest.raises(ConfigError, match="'llama-9' is not built in; there are"):
        model_shape("llama-9")


def test_a_config_with_dense_layers_first_and_shared_experts():
    m = from_config(
        {
            "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 100,
            "intermediate_size": 256, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 16,
            "num_experts": 8, "num_experts_per_tok": 2, "mlp_only_layers": [0],
        }
    )  # fmt: skip
    assert (m.moe_layers, m.mlp_params, m.dense_mlp_params) == (3, 3 * 64 * 16, 3 * 64 * 256)
    assert m.dense_params == 4 * 64 * 16 * 2 * 8 + 3 * (3 * 64 * 16) + 3 * 64 * 256
    assert m.expert_params == 3 * 64 * 32


def test_gemma_like_windows_and_nested_text_configs():
    text = {
        "model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 1, "head_dim": 32, "intermediate_size": 256, "vocab_size": 100,
        "sliding_window": 512, "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    }  # fmt: skip
    m = from_config({"model_type": "gemma3", "text_config": text})
    assert (m.window, m.window_layers, m.kv_heads, m.head_dim, m.tied) == (512, 2, 1, 32, True)


def test_two_matrices_where_there_is_no_gate():
    config = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 100}
    assert from_config(config | {"model_type": "phi"}).mlp_params == 2 * 64 * 256
    assert from_config(config | {"model_type": "phi3"}).mlp_params == 3 * 64 * 256


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match="lacks hidden_size"):
        from_config({})
