"""From a folder or hub name to a `Decoder`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from penstock.core.errors import ConfigError
from penstock.kernels.codec import make_codec
from penstock.kernels.compile import AttentionStack, compile_attention
from penstock.kernels.invariant_ops import InvariantOps
from penstock.kernels.ops import Ops, TorchOps
from penstock.models.assemble import Fill, assemble
from penstock.models.checkpoint import draw, fill
from penstock.models.decoder import Decoder
from penstock.models.families import adapter_for
from penstock.models.families.base import dtype_of, token_ids
from penstock.models.files import files_at
from penstock.models.pack import Packer, Rounding
from penstock.models.packcache.cache import PackedCache
from penstock.models.packcache.key import content_key
from penstock.models.params import ModelParams
from penstock.models.spec import ModelSpec

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_folder(model: str, revision: str = "", *, weights: bool = True) -> Path:
    """Return the local folder (or GGUF file) of a model, fetching it from the hub if it is a hub name.

    Args:
        model: folder, GGUF file, or ``owner/name`` on the hub.
        revision: branch, tag or commit on the hub; empty is the default.
        weights: fetch the safetensors too, not only configs and tokenizer.

    Raises:
        ConfigError: no such folder and not a hub name, or the hub cannot be reached and holds no cached copy.
    """
    path = Path(model).expanduser()
    if model and (path.is_dir() or (path.is_file() and path.suffix.lower() == ".gguf")):
        return path
    looks_local = model.startswith((".", "/", "~")) or model.count("/") != 1 or path.exists()
    if not model or looks_local:
        raise ConfigError("model.model", f"no folder {model!r} (a hub name looks like owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    patterns = ["*.json", "*.jinja", "*.model", "*.txt"] + (["*.safetensors"] if weights else [])
    try:
        return Path(snapshot_download(model, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            "model.model",
            f"no local folder {model!r}, and the hub did not provide it ({type(error).__name__}: {reason})",
        ) from error


def read_spec(path: Path) -> ModelSpec:
    """Return the spec of a model on disk; eos ids come from generation_config.json where it has them.

    Raises:
        ConfigError: see `ModelFiles.config` and `Adapter.spec`.
    """
    files = files_at(path)
    config = files.config()
    name, adapter = adapter_for(config.architectures)
    text = getattr(config, "text_config", config)
    try:
        spec = replace(adapter.spec(text), architecture=name)
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError("model.model", f"config of {path}: {error}") from error
    if text is not config:
        spec = replace(spec, dtype=dtype_of(config))
    if getattr(config, "quantization_config", None):
        spec = replace(spec, quantised=True)
    # Chat models list their end-of-turn id only in the generation config.
    return replace(spec, eos_ids=token_ids(files.generation().get("eos_token_id")) or spec.eos_ids)


def _context(spec: ModelSpec, max_model_len: int) -> int:
    if any(rope.kind == "dynamic" for rope in spec.ropes):
        return max_model_len or spec.max_position
    # Configs with YaRN state the length of pre-training or the stretched one.
    stretched = [int(rope.factor * rope.original_max) for rope in spec.ropes if rope.kind == "yarn"]
    most = max(spec.max_position, *stretched, 0)
    if max_model_len > most:
        raise ConfigError("model.max_model_len", f"the model takes at most {most} tokens")
    return max_model_len or spec.max_position


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("model.device", f"{device} was asked for, and torch finds no CUDA device")
    return device


def _ops(kernels: str, batch_invariant: bool) -> Ops:
    plain: Ops = InvariantOps() if batch_invariant else TorchOps()
    if kernels != "native":
        return plain
    from penstock.kernels.native.found import Missing
    from penstock.kernels.native.ops import NativeOps

    try:
        return NativeOps(plain)
    except Missing as missing:
        raise ConfigError("model.kernels", f"native was asked for, but {missing}") from missing


def _rounding(quantization: str, group: int) -> Rounding:
    if quantization not in ("none", "int8", "int4"):
        raise ConfigError("model.quantization", f"expected none, int8 or int4, got {quantization!r}")
    if group not in (32, 64, 128):
        raise ConfigError("model.quantization_group", f"expected 32, 64 or 128, got {group}")
    return Rounding({"none": 0, "int8": 8, "int4": 4}[quantization], group)


def _filler(path: Path, spec: ModelSpec, stack: AttentionStack, load_format: str, seed: int) -> Fill:
    """Return what fills parameters from the checkpoint, or with random numbers."""
    if load_format not in ("auto", "safetensors", "dummy"):
        raise ConfigError("model.load_format", f"expected auto, safetensors or dummy, got {load_format!r}")
    if load_format == "dummy":
        generator = torch.Generator(device=stack.device).manual_seed(seed)
        return lambda param: draw(param, stack.dtype, generator)
    _, adapter = adapter_for([spec.architecture])
    source = files_at(path).source(adapter.prefixes, stack.dtype)
    return lambda param: fill(param, source, stack.dtype, stack.device)


def _parameters(
    path: Path,
    spec: ModelSpec,
    stack: AttentionStack,
    load_format: str,
    seed: int,
    packer: Packer,
    cache: PackedCache | None,
) -> ModelParams:
    """Return the packed parameters: those that are kept, or else of the checkpoint, or random ones."""
    _, adapter = adapter_for([spec.architecture])

    def make() -> ModelParams:
        filler = _filler(path, spec, stack, load_format, seed)
        return assemble(adapter.params(spec), spec, filler, packer)

    if cache is None or packer.ops.name != "native" or load_format == "dummy":
        return make()
    try:
        key = content_key(files_at(path), stack.dtype, packer.rounding)
    except OSError:
        return make()  # which tells what is wrong with the files
    params = cache.load(key, make)
    for block in params.blocks:
        packer.bundle(block)  # which is made of addresses, and cannot be kept
    return params


def load_model(
    model: str,
    *,
    device: str = "cpu",
    dtype: str = "auto",
    load_format: str = "auto",
    revision: str = "",
    seed: int = 0,
    batch_invariant: bool = False,
    kv_cache_dtype: str = "auto",
    attention: str = "auto",
    max_model_len: int = 0,
    kernels: str = "torch",
    quantization: str = "none",
    quantization_group: int = 32,
    cache: PackedCache | None = None,
) -> Decoder:
    """Load a model.

    Args:
        model: folder, GGUF file or hub name.
        device: ``cpu``, ``cuda``, or ``auto``.
        dtype: ``auto`` (the checkpoint's own), ``float32``, ``bfloat16`` or ``float16``.
        load_format: ``auto`` or ``safetensors`` reads weights; ``dummy`` draws random ones.
        revision: on the hub.
        seed: of random weights.
        batch_invariant: a row's result never depends on its batch-mates, nor on chunking.
        kv_cache_dtype: ``auto`` or ``int8``.
        attention: backend name or ``auto``.
        max_model_len: longest sequence to run, in tokens; 0 is the model's own limit.
        kernels: ``native`` (the compiled CPU kernels) or ``torch``.
        quantization: ``none``, or round the weights to ``int8`` or ``int4``.
        quantization_group: inputs that share a scale under ``int4``.
        cache: keeps weights that were packed for the compiled kernels; None keeps none.

    Raises:
        ConfigError: anything about the folder, config, weights or settings that cannot work.
    """
    folder = resolve_folder(model, revision, weights=load_format != "dummy")
    spec = read_spec(folder)
    context, device = _context(spec, max_model_len), _device(device)
    if dtype != "auto" and dtype not in DTYPES:
        raise ConfigError("model.dtype", f"expected auto, {', '.join(DTYPES)}, got {dtype!r}")
    torch_dtype = spec.dtype if dtype == "auto" else DTYPES[dtype]
    ops = _ops(kernels, batch_invariant)
    stack = compile_attention(
        spec.layers,
        torch_dtype,
        device,
        codec=make_codec(kv_cache_dtype),
        attention=attention,
        batch_invariant=batch_invariant,
        kernels=kernels,
    )
    packer = Packer(ops, _rounding(quantization, quantization_group))
    params = _parameters(folder, spec, stack, load_format, seed, packer, cache)
    identity = f"dummy {seed}" if load_format == "dummy" else repr(files_at(folder).stamps())
    if isinstance(ops, InvariantOps):
        ops.check_all(weight for block in params.blocks for weight in block.dense())
    return Decoder(spec, params, stack, ops, context, identity)
