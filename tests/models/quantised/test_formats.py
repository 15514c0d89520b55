"""Folders in every format against a plain model of the weights that the format defines."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from penstock.core.errors import ConfigError
from penstock.kernels.native.library import why_missing
from penstock.models.checkpoint import Checkpoint
from penstock.models.load import load_model, read_spec
from penstock.models.quantised import format_of
from penstock.models.quantised.reader import QuantisedCheckpoint
from tests.models.families import FAMILIES, VOCAB, make_model
from tests.models.paged import Paged
from tests.models.quantised import encode

TEXT = torch.randint(3, VOCAB, (20,), generator=torch.Generator().manual_seed(5))


def _shuffled(inputs, group, seed):
    groups = torch.arange(inputs) // group
    return groups[torch.randperm(inputs, generator=torch.Generator().manual_seed(seed))]


def _ordered(seed_of):
    """GPTQ with act-order: the order of a module's inputs comes from its name."""

    def make(name, outputs, inputs, generator):
        return encode.gptq(outputs, inputs, generator, order=_shuffled(inputs, 32, seed_of(name)))

    return make


def _ct(bits, form="pack-quantized", **weights):
    weights = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False} | weights
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


def _gptq(bits=4, **more):
    return {"quant_method": "gptq", "bits": bits, "group_size": 32, "desc_act": False, **more}


def _plain(maker, **settings):
    return lambda name, outputs, inputs, generator: maker(outputs, inputs, generator, **settings)


CASES = {
    "gptq-4": (_gptq(), _plain(encode.gptq)),
    "gptq-8": (_gptq(8), _plain(encode.gptq, bits=8)),
    "gptq-v2": (_gptq(checkpoint_format="gptq_v2"), _plain(encode.gptq, version=2)),
    "gptq-whole": (_gptq() | {"group_size": -1}, _plain(encode.gptq, group=96)),
    "gptq-act-order": (_gptq(desc_act=True), _ordered(lambda name: 1)),
    "gptq-act-orders": (_gptq(desc_act=True), _ordered(lambda name: sum(name.encode()))),
    "awq": (
        {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm", "zero_point": True},
        _plain(encode.awq),
    ),
    "packed-4": (_ct(4, strategy="group", group_size=32), _plain(encode.packed)),
    "packed-8": (_ct(8, strategy="channel"), _plain(encode.packed, bits=8, group=0)),
    "packed-zeros": (
        _ct(4, strategy="group", group_size=32, symmetric=False),
        _plain(encode.packed, symmetric=False),
    ),
    "packed-act-order": (
        _ct(4, strategy="group", group_size=32, actorder="group"),
        lambda name, o, i, g: encode.packed(o, i, g, order=_shuffled(i, 32, 2)),
    ),
    "int8": (_ct(8, "int-quantized", strategy="channel"), _plain(encode.int8)),
    "int8-zeros": (
        _ct(8, "int-quantized", strategy="channel", symmetric=False),
        _plain(encode.int8, zeros=True),
    ),
}


def _sizes(family):
    """A tiny config of a family whose every matrix has 96 inputs."""
    config = FAMILIES[family]()
    config.hidden_size = config.intermediate_size = 96
    config.num_attention_heads, config.num_key_value_heads, config.head_dim = 6, 2, 16
    if hasattr(config, "moe_intermediate_size"):
        config.moe_intermediate_size = 96
    return config


def _quantise(name, tensor):
    return tensor.dim() == 2 and "proj" in name and "layers.2.mlp.down" not in name


def _build(tmp_path, monkeypatch, case, family="qwen3"):
    """Write a quantised and a plain folder of the same model; return them and the plain matrices."""
    settings, make = CASES[case]
    config, (plain, quantised) = _sizes(family), (tmp_path / "plain", tmp_path / "quantised")
    with monkeypatch.context() as patch:
        patch.setitem(FAMILIES, family, lambda: config)
        make_model(family, plain)
    generator = torch.Generator().manual_seed(7)
    tensors, written, wanted = load_file(plain / "model.safetensors"), {}, {}
    for name, tensor in tensors.items():
        if not _quantise(name, tensor):
            written[name] = tensor
            continue
        module = name.removesuffix(".weight")
        parts, value = make(module, *tensor.shape, generator)
        written |= {f"{module}.{part}": one for part, one in parts.items()}
        wanted[name] = value
    save_file(tensors | {n: v.float() for n, v in wanted.items()}, plain / "model.safetensors")
    quantised.mkdir()
    save_file(written, quantised / "model.safetensors")
    config = json.loads((plain / "config.json").read_text()) | {"quantization_config": settings}
    (quantised / "config.json").write_text(json.dumps(config))
    return plain, quantised, wanted


def _logits(folder, **options):
    return Paged(load_model(str(folder), **options), [TEXT]).run(0)


@pytest.mark.parametrize("case", CASES)
def test_a_model_is_its_plain_self(tmp_path, monkeypatch, case):
    plain, quantised, wanted = _build(tmp_path, monkeypatch, case)
    source = QuantisedCheckpoint(Checkpoint(quantised), format_of(CASES[case][0]), torch.float32)
    assert wanted
    for name, value in wanted.items():
        assert torch.equal(source.read(name).dequantised().double(), value), name
    want = _logits(plain)
    assert want.std() > 0.1
    assert (_logits(quantised) - want).abs().max() <= 1e-4
    if not why_missing():
        native = _logits(quantised, kernels="native")
        # Activations are rounded to 8 bits; scales and zero points to float16.
        assert 0 < (native - want).abs().mean() < 0.04 * want.std()


def test_kernels_keep_codes(tmp_path, monkeypatch):
    if reason := why_missing():
        pytest.skip(reason)
    plain, quantised, _ = _build(tmp_path, monkeypatch, "packed-4")
    assert read_spec(quantised).quantised and not read_spec(plain).quantised
    block = load_model(str(quantised), kernels="native")._params.blocks[1]
    whole = load_model(str(plain), kernels="native")._params.blocks[1]
    for slot in ("qkv", "out", "up", "down"):
        assert getattr(block, slot).nbytes < getattr(whole, slot).nbytes / 5, slot


@pytest.mark.parametrize("case", ["awq", "gptq-act-order", "int8"])
def test_experts_are_quantised_one_by_one(tmp_path, monkeypatch, case):
    plain, quantised, _ = _build(tmp_path, monkeypatch, case, "qwen3-moe")
    assert (_logits(quantised) - _logits(plain)).abs().max() <= 1e-4


def test_rounding_leaves_codes_alone(tmp_path, monkeypatch):
    _, quantised, _ = _build(tmp_path, monkeypatch, "packed-8")
    model = load_model(str(quantised), quantization="int4")._params
    same = load_model(str(quantised))._params
    assert torch.equal(model.blocks[0].qkv, same.blocks[0].qkv)
    assert not torch.equal(model.blocks[2].down, same.blocks[2].down)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"quant_method": "fp8"}, "quant_method: expected .*gptq, got 'fp8'"),
        ({}, "quant_method: expected"),
        (_gptq(3), r"bits: expected 4 or 8, got 3"),
        (_gptq(is_marlin_format=True), "is_marlin_format: expected False"),
        (_gptq(checkpoint_format="marlin"), "checkpoint_format: expected gptq or gptq_v2, got 'marlin'"),
        (_gptq() | {"group_size": 12}, "group_size: expected -1 or a positive multiple of 8, got 12"),
        (_gptq(dynamic={"+:.*down.*": {"bits": 8}}), "dynamic: other bits"),
        ({"quant_method": "awq", "bits": 4, "version": "gemv"}, "version: expected gemm"),
        ({"quant_method": "awq", "bits": 8}, "bits: expected 4, got 8"),
        ({"quant_method": "awq", "bits": 4, "zero_point": False}, "zero_point: expected True"),
        (_ct(4, "marlin-24"), "format: expected pack-quantized .*, got 'marlin-24'"),
        (_ct(8, "float-quantized", type="float"), "format: expected"),
        (_ct(4, type="float"), r"weights\.type: expected int, got 'float'"),
        (_ct(2), r"weights\.num_bits: expected 4 or 8, got 2"),
        (_ct(4, "int-quantized"), r"weights\.num_bits: expected 8, got 4"),
        (_ct(4, strategy="block"), r"weights\.strategy: expected tensor or channel or group, got 'block'"),
        (_ct(4) | {"sparsity_config": {"format": "sparse-24-bitmask"}}, r"sparsity_config\.format"),
        (_ct(4) | {"config_groups": {}}, "config_groups: expected at least one"),
    ],
)
def test_refusals_name_the_field(settings, match):
    with pytest.raises(
        ConfigError, match=r"config\.quantization_config\.(config_groups\.group_0\.)?" + match
    ):
        format_of(settings)


def _spoiled(tmp_path, monkeypatch, case, part, change):
    _, folder, _ = _build(tmp_path, monkeypatch, case)
    path = folder / "model.safetensors"
    tensors, name = load_file(path), f"model.layers.1.self_attn.q_proj.{part}"
    tensors[name] = change(tensors[name]).contiguous()
    save_file({n: t for n, t in tensors.items() if t.numel()}, path)
    with pytest.raises(ConfigError, match=r"layers\.1\.self_attn\.q_proj") as error:
        load_model(str(folder))
    return str(error.value)


def test_parts_that_do_not_fit(tmp_path, monkeypatch):
    told = _spoiled(tmp_path / "a", monkeypatch, "gptq-4", "scales", lambda t: t[:-1])
    assert "scales" in told and "2x96" in told and "expected 3x96" in told
    assert "g_idx" in _spoiled(tmp_path / "b", monkeypatch, "gptq-4", "g_idx", lambda t: t * 0)
    assert "holds no tensor" in _spoiled(tmp_path / "c", monkeypatch, "awq", "qzeros", lambda t: t[:0])
    assert "96x64, the config calls for 96x96" in _spoiled(
        tmp_path / "d", monkeypatch, "int8", "weight", lambda t: t[:, :64]
    )


def test_targets_choose_the_scheme(tmp_path, monkeypatch):
    """Modules may differ in bits: the first group with a target that names a module holds for it."""
    eight = {"targets": ["re:.*down_proj$"], "weights": {"num_bits": 8, "strategy": "channel"}}
    four = {"targets": ["Linear"], "weights": {"num_bits": 4, "strategy": "group", "group_size": 32}}
    settings = _ct(4) | {"config_groups": {"group_0": eight, "group_1": four}}

    def make(name, outputs, inputs, generator):
        narrow = {"bits": 8, "group": 0} if name.endswith("down_proj") else {}
        return encode.packed(outputs, inputs, generator, **narrow)

    monkeypatch.setitem(CASES, "mixed", (settings, make))
    plain, quantised, _ = _build(tmp_path, monkeypatch, "mixed")
    assert (_logits(quantised) - _logits(plain)).abs().max() <= 1e-4
