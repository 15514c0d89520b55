"""GGUF files against a plain model of the weights that their blocks define."""

import pytest
import torch
import transformers as tf

from penstock.core.errors import ConfigError
from penstock.kernels.native.library import why_missing
from penstock.models.load import load_model, read_spec
from penstock.models.quantised.blocks import BLOCK_TYPES, codes_of
from tests.models.paged import Paged
from tests.models.quantised import ggml

gguf = pytest.importorskip("gguf")
TEXT = torch.randint(3, 64, (20,), generator=torch.Generator().manual_seed(5))
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}


def _config(arch, **more):
    kinds = {"llama": tf.LlamaConfig, "qwen2": tf.Qwen2Config, "qwen3": tf.Qwen3Config}
    sizes = {"hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2, "vocab_size": 64}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128 if arch == "qwen3" else 64}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 256, "initializer_range": 0.06}
    return kinds[arch](**sizes, **heads, **ends, **more)


def _gguf_name(name):
    module, _, part = name.rpartition(".")
    if module.startswith("model.layers."):
        _, _, layer, rest = module.split(".", 3)
        return f"blk.{layer}.{NAMES[rest]}.{part}"
    return f"{NAMES[module]}.{part}"


def _swapped(tensor, heads):
    """What llama.cpp's converter does to Llama's queries and keys."""
    return tensor.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def _kind(name, kinds):
    return next((kind for pattern, kind in kinds.items() if pattern in name), "F32")


def _write(path, arch, kinds, fields=(), **more):
    """Write a GGUF file and return the plain model of the same weights."""
    torch.manual_seed(0)
    config = _config(arch, **more)
    model = tf.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    writer, generator = gguf.GGUFWriter(path, arch), torch.Generator().manual_seed(3)
    writer.add_embedding_length(256)
    writer.add_feed_forward_length(256)
    writer.add_block_count(2)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_key_length(config.head_dim)
    writer.add_context_length(256)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_file_type(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(7)
    for method, *values in fields:
        getattr(writer, method)(*values)
    weights = model.state_dict()
    for name, tensor in weights.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if tensor.dim() == 1:
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
        _add(writer, name, tensor, _kind(name, kinds), arch, generator)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add(writer, name, tensor, kind, arch, generator):
    own, heads = _gguf_name(name), {"q_proj": 4, "k_proj": 2}.get(name.split(".")[-2], 0)
    heads = heads if arch == "llama" else 0
    if kind not in ggml.BLOCKS:
        plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[kind]
        stored = (_swapped(tensor, heads) if heads else tensor).to(plain)
        tensor.copy_(tensor.to(plain))
        if kind == "BF16":
            raw = stored.contiguous().view(torch.uint8).numpy()
            writer.add_tensor(own, raw, raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(own, stored.contiguous().numpy())
        return
    raw, value = ggml.matrix(kind, *tensor.shape, generator)
    back = _swapped(torch.arange(len(value)), heads) if heads else torch.arange(len(value))
    # Row i of the file is row back[i] of the model.
    tensor[back] = value.float()
    writer.add_tensor(own, raw.numpy(), raw_dtype=gguf.GGMLQuantizationType[kind])


def _logits(path, **options):
    return Paged(load_model(str(path), **options), [TEXT]).run(0)


def _want(model):
    with torch.no_grad():
        return model(TEXT[None]).logits[0]


@pytest.mark.parametrize("kind", ggml.BLOCKS)
def test_blocks(kind):
    """Against the definition, and against the numbers that the gguf package makes of the same bytes."""
    raw, value = ggml.matrix(kind, 5, 512, torch.Generator().manual_seed(1))
    codes = codes_of(BLOCK_TYPES[kind], raw, torch.float32)
    assert codes.shape == (5, 512)
    assert torch.equal(codes.dequantised(), value.float())
    theirs = gguf.quants.dequantize(raw.numpy(), gguf.GGMLQuantizationType[kind])
    assert torch.allclose(codes.dequantised(), torch.from_numpy(theirs), rtol=1e-6, atol=1e-9)


MIXED = {"q_proj.weight": "Q4_K", "k_proj.weight": "Q4_K", "v_proj.weight": "Q6_K", "proj.weight": "Q4_K"}
MIXED |= {"lm_head": "Q6_K", "embed_tokens": "Q4_K"}


@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize(
    "kinds",
    [{"proj.weight": "Q8_0"}, {"proj.weight": "Q4_0", "embed": "Q8_0"}, MIXED, {"proj.weight": "BF16"}, {}],
    ids=["q8_0", "q4_0", "q4_k_m", "bf16", "f32"],
)
def test_a_model_is_its_plain_self(tmp_path, arch, kinds):
    path = tmp_path / "model.gguf"
    want = _want(_write(path, arch, kinds))
    assert want.std() > 0.1
    assert (_logits(path) - want).abs().max() <= 1e-4
    if not why_missing() and "BF16" not in kinds.values():
        assert (_logits(path, kernels="native") - want).abs().mean() < 0.04 * want.std()


def test_tied_head_and_ends(tmp_path):
    path = tmp_path / "model.gguf"
    model = _write(path, "qwen2", {"embed_tokens": "Q8_0", "proj.weight": "F16"}, tie_word_embeddings=True)
    spec = read_spec(path)
    assert spec.tied and spec.eos_ids == (2, 7) and spec.architecture == "Qwen2ForCausalLM"
    assert (_logits(path) - _want(model)).abs().max() <= 1e-4


def test_rope_scaling(tmp_path):
    path = tmp_path / "model.gguf"
    linear = {"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}
    scaling = [
        ("add_rope_scaling_type", gguf.RopeScalingType.LINEAR),
        ("add_rope_scaling_factor", 4.0),
    ]
    model = _write(path, "llama", {}, scaling, rope_parameters=linear)
    assert (_logits(path) - _want(model)).abs().max() <= 1e-4


def test_llama3_scaling(tmp_path):
    """Its divisors of the frequencies are a tensor of the file."""
    path = tmp_path / "model.gguf"
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    base = 5e5 ** -(torch.arange(0, 64, 2) / 64)
    scaled = tf.models.llama.modeling_llama.LlamaRotaryEmbedding(_config("llama", rope_parameters=rope))
    factors = (base / scaled.inv_freq).float()
    assert float(factors.max()) == pytest.approx(8.0, rel=1e-5) and len(factors.unique()) > 4
    field = ("add_tensor", "rope_freqs.weight", factors.numpy())
    model = _write(path, "llama", {}, [field], rope_parameters=rope)
    assert (_logits(path) - _want(model)).abs().max() <= 1e-4
    other = tmp_path / "other.gguf"
    _write(other, "llama", {}, [("add_tensor", "rope_freqs.weight", factors.flip(0).numpy().copy())])
    with pytest.raises(ConfigError, match=r"rope_freqs\.weight is not Llama 3's"):
        load_model(str(other))


def test_refusals(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUX" + bytes(64))
    with pytest.raises(ConfigError, match="no readable GGUF file"):
        load_model(str(path))
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ConfigError, match="expected a GGUF file of llama, qwen2, qwen3, got 'mamba'"):
        load_model(str(path))


def test_other_types_are_refused_by_name(tmp_path, monkeypatch):
    path = tmp_path / "model.gguf"
    _write(path, "llama", {"down_proj": "Q6_K"})
    monkeypatch.delitem(BLOCK_TYPES, "Q6_K")
    with pytest.raises(
        ConfigError, match=r"'blk\.0\.ffn_down\.weight' is Q6_K; read are F32, F16, BF16, Q8_0"
    ):
        load_model(str(path))
