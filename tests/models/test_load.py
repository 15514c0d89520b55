"""The door: forms of checkpoints that load, and bad input that is refused by name."""

import json
import re
import shutil

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file

from penstock.core.errors import ConfigError
from penstock.models.families import ADAPTERS
from penstock.models.load import load_model, read_spec
from tests.models.families import FAMILIES, VOCAB, make_model
from tests.models.paged import Paged

TEXT = torch.randint(3, VOCAB, (30,), generator=torch.Generator().manual_seed(5))


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny Llama folder that a test may spoil."""
    return shutil.copytree(tiny("llama").folder, tmp_path / "model")


def _edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def _logits(where, **options):
    return Paged(load_model(str(where), **options), [TEXT]).run(0)


def _close(got, want):
    assert (got - want).abs().max() <= 1e-4


def test_shards(tiny, tmp_path):
    model = tiny("llama")
    model.oracle.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    _close(_logits(tmp_path), model.logits(TEXT))


def test_base_model_prefix(tiny, folder):
    """Checkpoints of the base class lack the leading "model."."""
    path = folder / "model.safetensors"
    save_file({name.removeprefix("model."): t for name, t in load_file(path).items()}, path)
    _close(_logits(folder), tiny("llama").logits(TEXT))


@pytest.mark.parametrize("family", ["mixtral", "qwen2-moe", "qwen3-moe"])
def test_fused_experts(tiny, tmp_path, family):
    """Checkpoints may hold the experts of a layer in one tensor, as transformers 5 holds them in memory."""
    model = tiny(family)
    shutil.copytree(model.folder, tmp_path / "m")
    tensors = {
        name: t for name, t in load_file(tmp_path / "m/model.safetensors").items() if "experts." not in name
    }
    if family == "mixtral":
        tensors = {name.replace("block_sparse_moe", "mlp"): t for name, t in tensors.items()}
    fused = {n: t.contiguous() for n, t in model.oracle.state_dict().items() if ".experts." in n}
    assert any(name.endswith("gate_up_proj") for name in fused)
    save_file(tensors | fused, tmp_path / "m/model.safetensors")
    _close(_logits(tmp_path / "m"), model.logits(TEXT))


def test_text_part_of_a_multimodal_model(tmp_path):
    text = FAMILIES["gemma3"]()
    vision = tf.SiglipVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=8,
        patch_size=4,
    )
    config = tf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    torch.manual_seed(0)
    model = tf.Gemma3ForConditionalGeneration._from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        want = model(TEXT[None], token_type_ids=torch.zeros_like(TEXT[None])).logits[0]
    _close(_logits(tmp_path), want)


def test_dtype(tiny, folder):
    assert load_model(str(folder)).dtype == torch.float32
    half = load_model(str(folder), dtype="bfloat16")
    assert half.dtype == torch.bfloat16
    assert half.kv_bytes_per_block(8) * 2 == load_model(str(folder)).kv_bytes_per_block(8)
    got = Paged(half, [TEXT]).run(0)
    assert got.dtype == torch.float32
    assert (got - tiny("llama").logits(TEXT)).abs().mean() < 0.05
    _edit(folder, dtype="float16")
    assert load_model(str(folder)).dtype == torch.float16


def test_bfloat16_family_logits(tiny):
    """Every kind of block runs in bfloat16 near its float32 self."""
    for family in ("gemma2", "opt-post", "gpt-neox", "qwen2-moe", "phi3"):
        model = tiny(family)
        got = Paged(load_model(str(model.folder), dtype="bfloat16"), [TEXT]).run(0)
        assert (got - model.logits(TEXT)).abs().mean() < 0.15 * model.logits(TEXT).std(), family


@pytest.mark.parametrize("family", FAMILIES)
def test_dummy_needs_only_the_config(family, tmp_path):
    config = FAMILIES[family]()
    config.architectures = [tf.AutoModelForCausalLM._model_mapping[type(config)].__name__]
    config.save_pretrained(tmp_path)
    first, again = (load_model(str(tmp_path), load_format="dummy", seed=3) for _ in range(2))
    other = load_model(str(tmp_path), load_format="dummy", seed=4)
    logits = Paged(first, [TEXT]).run(0)
    assert torch.isfinite(logits).all() and logits.std() > 0
    assert torch.equal(logits, Paged(again, [TEXT]).run(0))
    assert not torch.equal(logits, Paged(other, [TEXT]).run(0))
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_weight_bytes(tiny, kernels):
    for family in ("llama", "llama-bias", "opt-post", "qwen2-moe", "gpt-neox"):
        model = tiny(family)
        own = sum(p.numel() * 4 for p in model.oracle.parameters())
        tables = sum(table.nbytes() for table in model.decoder._ropes)
        padding = own if kernels == "native" else 0  # packed panels are 64 outputs wide, these models less
        assert own + tables <= model.decoder.weight_bytes() <= own + tables + padding, family


def test_eos_ids_of_the_generation_config(tiny, folder):
    assert tiny("llama").decoder.spec.eos_ids == (2,)
    (folder / "generation_config.json").write_text('{"eos_token_id": [5, 7]}')
    assert read_spec(folder).eos_ids == (5, 7)


def _refused(match, **options):
    where = options.pop("model")
    with pytest.raises(ConfigError, match=match):
        load_model(str(where), **options)


def test_unknown_folder(tmp_path, monkeypatch):
    _refused("model.model: no folder", model=tmp_path / "nowhere")
    _refused("model.model: no folder ''", model="")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    _refused(
        "no local folder 'no-such-owner/no-such-model', and the hub", model="no-such-owner/no-such-model"
    )
    _refused(r"holds no config\.json", model=tmp_path)


def test_unsupported_architecture_lists_the_supported(folder):
    _edit(folder, architectures=["BloomForCausalLM"])
    with pytest.raises(ConfigError, match=r"unsupported architecture \(BloomForCausalLM\)") as error:
        load_model(str(folder))
    assert all(name in str(error.value) for name in ADAPTERS)
    _edit(folder, architectures=None)
    _refused("unsupported architecture", model=folder)


def test_bad_config(folder):
    _edit(folder, num_attention_heads=5)
    _refused(r"config\.json is not valid", model=folder)
    _edit(folder, num_attention_heads=6, num_key_value_heads=4)
    _refused("6 heads is no multiple of 4 KV heads", model=folder)
    _edit(folder, num_key_value_heads=2, hidden_act="mish")
    _refused("hidden_act.*got 'mish'", model=folder)
    _edit(folder, hidden_act="silu", quantization_config={"quant_method": "fp8"})
    _refused(r"quantization_config\.quant_method: expected awq or .*, got 'fp8'", model=folder)
    (folder / "config.json").write_text("{not json")
    _refused(r"config\.json is not valid JSON", model=folder)
    (folder / "config.json").write_text("[]")
    _refused("should hold an object, holds a list", model=folder)


def test_bad_options(folder):
    _refused("model.dtype: expected auto, float32", model=folder, dtype="int4")
    _refused("model.load_format: expected auto", model=folder, load_format="gguf")
    _refused("model.max_model_len: the model takes at most 512", model=folder, max_model_len=513)
    assert load_model(str(folder), max_model_len=100).context == 100
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
    _edit(folder, rope_parameters=yarn)
    assert load_model(str(folder)).context == 512
    assert load_model(str(folder), max_model_len=2048).context == 2048
    _refused("model.max_model_len: the model takes at most 2048", model=folder, max_model_len=2049)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_no_cuda(folder):
    _refused("model.device: cuda was asked for", model=folder, device="cuda")


def test_no_weights(folder):
    (folder / "model.safetensors").unlink()
    _refused(r"holds no model\.safetensors", model=folder)


def test_missing_shard(tiny, tmp_path):
    tiny("llama").oracle.save_pretrained(tmp_path, max_shard_size="40KB")
    lost = sorted(tmp_path.glob("*.safetensors"))[1]
    lost.unlink()
    _refused(f"lacks shards .*{re.escape(lost.name)}", model=tmp_path)


def test_corrupt_shard(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    _refused(r"model\.safetensors is corrupt or unreadable", model=folder)
    path.write_bytes(b"")
    _refused(r"model\.safetensors is corrupt or unreadable", model=folder)
    path.write_bytes(b"\xff" * 64 + whole[64:])
    _refused(r"model\.safetensors is corrupt or unreadable", model=folder)


def test_corrupt_index(tiny, tmp_path):
    tiny("llama").oracle.save_pretrained(tmp_path, max_shard_size="40KB")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    _refused("is not a valid index", model=tmp_path)


def test_missing_tensor(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path)
    _refused(r"holds no tensor 'model\.layers\.1\.mlp\.up_proj\.weight'", model=folder)


def test_attention_follows_the_kernels(tiny, kernels):
    folder = tiny("llama").folder
    assert load_model(str(folder), kernels=kernels).stack.backend.name == kernels
    invariant = load_model(str(folder), kernels=kernels, batch_invariant=True).stack.backend.name
    assert invariant == ("native" if kernels == "native" else "invariant")
    assert load_model(str(folder), kernels=kernels, attention="torch").stack.backend.name == "torch"
    assert load_model(str(folder), kernels=kernels, kv_cache_dtype="int8").stack.backend.name == kernels


def test_wrong_shape(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.2.self_attn.k_proj.weight"] = torch.zeros(31, 48)
    save_file(tensors, path)
    _refused(
        r"'model\.layers\.2\.self_attn\.k_proj\.weight' is 31x48, the config calls for 32x48", model=folder
    )


def test_wrong_shape_of_a_fused_tensor(tiny, tmp_path):
    shutil.copytree(tiny("gpt-neox").folder, tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    save_file(load_file(path) | {name: torch.zeros(190, 64)}, path)
    _refused(f"tensor '{re.escape(name)}' is 190x64", model=tmp_path / "m")


def test_every_architecture_has_a_tiny_model(tmp_path):
    made = {
        make_model.__globals__["tf"].AutoModelForCausalLM._model_mapping[type(c())].__name__
        for c in FAMILIES.values()
    }
    assert made | {"Gemma3ForConditionalGeneration"} == set(ADAPTERS)
