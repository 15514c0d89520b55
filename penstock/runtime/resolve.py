"""Every setting that says ``auto``, decided in one place by one pure function, each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig
from penstock.core.errors import ConfigError
from penstock.kernels.native.library import isa, isa_drawback, why_missing
from penstock.models.load import DTYPES, read_spec, resolve_folder
from penstock.models.spec import ModelSpec
from penstock.runtime.estimate import weight_bytes
from penstock.runtime.host import usable_cores, user_cache
from penstock.zoo import named_model, public_name


@dataclass(frozen=True, slots=True)
class Decision:
    """One setting that was not given, or not given in full, and what it became."""

    name: str
    """Dotted name of the setting."""
    value: str
    why: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the settings are decided from."""

    folder: Path
    """Where the model lies."""
    spec: ModelSpec
    cuda: bool
    """Whether a CUDA device can be used."""
    cores: int
    threads_from_env: int | None = None
    """``OMP_NUM_THREADS``, if set."""
    no_kernels: str | None = None
    """Why there are no compiled CPU kernels here; None where they are."""
    isa: str = ""
    """The instruction set that they use."""
    isa_drawback: str = ""
    """What is lost with it, and why it is used; nothing for the strongest."""
    user_cache: Path | None = None
    """Where the user's programs keep what they can make again; None if nowhere."""


def gather_facts(config: Config) -> Facts:
    """Look at the model folder and the machine; fetches a hub model if need be.

    Raises:
        ConfigError: the model cannot be found or read.
    """
    try:
        model = named_model(config.model.model)
    except FileNotFoundError as error:
        raise ConfigError("model.model", f"empty means the bundled model, but {error}") from error
    folder = resolve_folder(model, config.model.revision, weights=config.model.load_format != "dummy")
    env, no_kernels = os.environ.get("OMP_NUM_THREADS", ""), why_missing()
    return Facts(
        folder=folder,
        spec=read_spec(folder),
        cuda=torch.cuda.is_available(),
        cores=usable_cores(),
        threads_from_env=int(env) if env.isdigit() and int(env) > 0 else None,
        no_kernels=no_kernels,
        isa="" if no_kernels else isa(),
        isa_drawback="" if no_kernels else isa_drawback(),
        user_cache=user_cache(),
    )


def resolve(config: Config, facts: Facts) -> tuple[Config, list[Decision]]:
    """Replace every auto setting by a value.

    The KV budget is left to `memory.plan_memory`, which needs the loaded weights' size.

    Returns:
        The settings without autos, and what was decided and why.

    Raises:
        ConfigError: a setting asks for what the machine or the model does not have.
    """
    decisions: list[Decision] = []
    model = _model(config.model, facts, decisions)
    on_cuda = model.device == "cuda"
    cache = _cache(config.cache, on_cuda, decisions)
    schedule = _schedule(config.schedule, on_cuda, decisions)
    if not on_cuda:
        threads, why = thread_count(facts, weight_bytes(facts.spec, DTYPES[model.dtype]))
        decisions.append(Decision("threads", str(threads), why))
    return msgspec.structs.replace(config, model=model, cache=cache, schedule=schedule), decisions


SMALL_MODEL = 16 * 1024 * 1024
"""Bytes of weights up to which one thread computes.

On two cores, two threads decoded the bundled model (10 MiB) 10 % faster on an idle machine, and 40 times
slower while anything else ran, since they spin for each other. A model of 54 MB gained a quarter to a third
(2026-11-20, torch 2.13)."""


def thread_count(facts: Facts, weights: int) -> tuple[int, str]:
    """Return how many threads compute, and why.

    Args:
        facts: cores and environment.
        weights: bytes of the model's weights.
    """
    if facts.threads_from_env is not None:
        return facts.threads_from_env, "OMP_NUM_THREADS says so"
    if weights <= SMALL_MODEL:
        return 1, "so small a model gains little from more, and leaves the other cores to the server"
    return facts.cores, "one per core that this process may use"


def _model(given: ModelConfig, facts: Facts, decisions: list[Decision]) -> ModelConfig:
    found: dict[str, object] = {}

    def decide(name: str, value: object, why: str) -> None:
        found[name] = value
        decisions.append(Decision(f"model.{name}", str(value), why))

    if not given.model:
        decide("model", str(facts.folder), "the bundled chat model, as none was named")
    if not given.served_model_name:
        name = public_name(given.model) if given.model else facts.folder.name
        decide("served_model_name", name, "the model's")
    if given.device == "auto":
        why = "a CUDA device is there" if facts.cuda else "no CUDA device is there"
        decide("device", "cuda" if facts.cuda else "cpu", why)
    elif given.device == "cuda" and not facts.cuda:
        raise ConfigError("model.device", "asked for cuda, but torch finds no CUDA device here")
    if given.dtype == "auto":
        decide("dtype", *_dtype(str(found.get("device", given.device)), given.kernels, facts))
    if given.kernels == "auto":
        decide(
            "kernels",
            *_kernels(str(found.get("device", given.device)), str(found.get("dtype", given.dtype)), facts),
        )
    if given.packed_cache == "auto":
        if found.get("kernels", given.kernels) != "native" or given.load_format == "dummy":
            found["packed_cache"] = "off"
        else:
            dtype = DTYPES[str(found.get("dtype", given.dtype))]
            decide("packed_cache", *_packed_cache(weight_bytes(facts.spec, dtype), facts))
    if given.max_model_len == 0:
        decide("max_model_len", facts.spec.max_position, "the model's own limit")
    if given.cuda_graphs and found.get("device", given.device) != "cuda":
        found["cuda_graphs"] = False
    return msgspec.structs.replace(given, **found)


def _dtype(device: str, kernels: str, facts: Facts) -> tuple[str, str]:
    """Return the dtype of activations and plain weights, and why."""
    native = device == "cpu" and kernels != "torch" and facts.no_kernels is None
    if native and facts.spec.quantised and facts.spec.dtype == torch.float16:
        return "bfloat16", "the compiled kernels take no float16, and quantised weights are codes in either"
    return str(facts.spec.dtype).removeprefix("torch."), "the checkpoint's own"


TORCH_IS_SLOWER = "slower: where it was measured 2.3 times in batches, 3.3 times for one request alone"
"""The bundled model on two cores with avx512_bf16: benchmarks/results/native-kernels-20261121-172653.json."""


def _kernels(device: str, dtype: str, facts: Facts) -> tuple[str, str]:
    """Return which dense operations to use, and why."""
    if device != "cpu":
        return "torch", "the compiled kernels are for CPUs"
    if facts.no_kernels is not None:
        return "torch", f"{TORCH_IS_SLOWER}; {facts.no_kernels}"
    if dtype not in ("float32", "bfloat16"):
        return "torch", f"the compiled kernels take float32 and bfloat16, not {dtype}"
    return "native", f"compiled, for {facts.isa}" + (f"; {facts.isa_drawback}" if facts.isa_drawback else "")


LEAST_KEPT = 64 * 1024 * 1024
"""Bytes of weights from which packed ones are kept.

Reading and packing fewer takes a fraction of a second, beside the seconds of any start, and all who try a
small model would be left with a file."""


def _packed_cache(weights: int, facts: Facts) -> tuple[str, str]:
    """Return where packed weights are kept, and why."""
    if weights < LEAST_KEPT:
        return "off", "so few weights are packed in no time"
    if facts.user_cache is None:
        return "off", "the user has no cache folder"
    return str(facts.user_cache / "penstock" / "packed"), "in the user's cache folder"


def _cache(given: CacheConfig, on_cuda: bool, decisions: list[Decision]) -> CacheConfig:
    if given.block_size:
        return given
    size = 16 if on_cuda else 32
    why = "small pages waste less" if on_cuda else "a multiple of the CPU's tile height"
    decisions.append(Decision("cache.block_size", str(size), why))
    return msgspec.structs.replace(given, block_size=size)


def _schedule(given: ScheduleConfig, on_cuda: bool, decisions: list[Decision]) -> ScheduleConfig:
    found: dict[str, object] = {}
    if given.max_num_batched_tokens == 0:
        usual = 2048 if on_cuda else 512
        tokens = max(usual, given.max_num_seqs)
        why = f"usual on {'CUDA' if on_cuda else 'CPU'}" if tokens == usual else "one per running sequence"
        found["max_num_batched_tokens"] = tokens
        decisions.append(Decision("schedule.max_num_batched_tokens", str(tokens), why))
    if given.pipeline_depth < 0:
        depth = 1 if on_cuda else 0
        why = "planning overlaps the device" if on_cuda else "planning would compete with the model for cores"
        found["pipeline_depth"] = depth
        decisions.append(Decision("schedule.pipeline_depth", str(depth), why))
    return msgspec.structs.replace(given, **found)
