"""From settings to the parts of an executor: model, memory plan, KV cache, capacities."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import torch

from penstock.config.settings import Config
from penstock.core.executor import ExecutorSpec
from penstock.kernels.native.library import start_team
from penstock.kernels.store import KVStore
from penstock.models.decoder import Decoder
from penstock.models.files import files_at
from penstock.models.load import DTYPES, load_model
from penstock.models.packcache.cache import PackedCache
from penstock.runtime.estimate import Shape, check_weights, weight_bytes
from penstock.runtime.grammar.backends import resolve_backend
from penstock.runtime.grammar.service import GrammarService
from penstock.runtime.grammar.vocabulary import read_vocabulary
from penstock.runtime.grammar.worker import Limits
from penstock.runtime.host import available_memory
from penstock.runtime.memory import MemoryPlan, measure_resident, plan_memory
from penstock.runtime.resolve import Decision, Facts, gather_facts, resolve, thread_count
from penstock.runtime.runner import Forward


@dataclass(frozen=True, slots=True)
class Parts:
    """What an executor is made of."""

    config: Config
    """Without autos."""
    decisions: list[Decision]
    decoder: Decoder
    memory: MemoryPlan
    kv: KVStore
    spec: ExecutorSpec
    forward: Forward | None
    """Replays CUDA graphs in place of the decoder's own forward."""
    grammars: GrammarService


def assemble(config: Config) -> Parts:
    """Decide, load, plan and allocate.

    Raises:
        ConfigError: see `penstock.executors.inline.build_executor`.
    """
    facts = gather_facts(config)
    config, decisions = resolve(config, facts)
    device, dtype = config.model.device, DTYPES[config.model.dtype]
    if device == "cpu":
        _start_threads(thread_count(facts, weight_bytes(facts.spec, dtype))[0], config.model.kernels)
    _settle(device)
    available, baseline = available_memory(device), measure_resident(device)
    check_weights(facts.spec, dtype, available)
    decoder = _load(config, facts)
    _yield_threads(decoder)
    page = config.cache.block_size
    shape = Shape(
        config.schedule.max_num_seqs,
        config.schedule.max_num_batched_tokens,
        config.model.max_model_len,
        page,
    )
    memory = plan_memory(
        decoder.spec,
        shape,
        device=device,
        dtype=decoder.dtype,
        weights=decoder.weight_bytes(),
        block_bytes=decoder.kv_bytes_per_block(page),
        available=available,
        baseline=baseline,
        fraction=config.cache.memory_fraction,
        kv_bytes=config.cache.kv_cache_memory_bytes,
    )
    kv = decoder.new_kv(memory.blocks, page)
    cache = msgspec.structs.replace(config.cache, kv_cache_memory_bytes=memory.kv)
    backend = decoder.stack.backend.name
    decisions.append(Decision("model.attention", backend, "fits device, dtype and KV format"))
    return Parts(
        config=msgspec.structs.replace(config, cache=cache),
        decisions=decisions,
        decoder=decoder,
        memory=memory,
        kv=kv,
        spec=ExecutorSpec(
            slots=shape.max_num_seqs,
            blocks=memory.blocks,
            page_size=page,
            max_model_len=shape.max_model_len,
            vocab_size=decoder.spec.vocab_size,
            pipeline_depth=config.schedule.pipeline_depth,
            layers=len(decoder.spec.blocks) if decoder.stack.planner.name == "all" else 0,
            embedding_size=decoder.width,
            cache_fingerprint=fingerprint(config, facts, decoder.stack.fingerprint),
        ),
        forward=_graphs(config, decoder, kv, decisions),
        grammars=_grammars(config, facts, decisions),
    )


def _start_threads(threads: int, kernels: str) -> None:
    torch.set_num_threads(threads)
    if kernels == "native":
        start_team(threads)


def _yield_threads(decoder: Decoder) -> None:
    """Take torch's threads away where all heavy work of a step is the kernels'.

    Loading is torch's work and needs them; afterwards they would spin, between the small operations that are
    left to torch, on the cores that the kernels' threads compute on.
    """
    if decoder.stack.backend.name == "native":
        torch.set_num_threads(1)


def _settle(device: str) -> None:
    """Make torch take its one-off buffers, so that the baseline holds them."""
    probe = torch.ones(64, 64, device=device)
    (probe @ probe).sum().item()


def _load(config: Config, facts: Facts) -> Decoder:
    model = config.model
    keeps = model.packed_cache not in ("", "off")
    folder = Path(model.packed_cache).expanduser()
    return load_model(
        str(facts.folder),
        device=model.device,
        dtype=model.dtype,
        load_format=model.load_format,
        seed=model.seed,
        batch_invariant=model.batch_invariant,
        kv_cache_dtype=config.cache.kv_cache_dtype,
        attention=model.attention,
        kernels=model.kernels,
        quantization=model.quantization,
        quantization_group=model.quantization_group,
        max_model_len=model.max_model_len,
        cache=PackedCache(folder, model.packed_cache_bytes) if keeps else None,
    )


def _graphs(config: Config, decoder: Decoder, kv: KVStore, decisions: list[Decision]) -> Forward | None:
    if config.model.device != "cuda" or not config.model.cuda_graphs:
        return None
    # Imported here because it brings the Triton kernels along, which no CPU needs.
    from penstock.runtime.graphs import GraphRunner, graph_refusal

    refusal = graph_refusal(decoder)
    decisions.append(
        Decision("model.cuda_graphs", str(refusal is None).lower(), refusal or "decode steps can be captured")
    )
    return None if refusal is not None else GraphRunner(decoder, kv, most=config.schedule.max_num_seqs)


def _grammars(config: Config, facts: Facts, decisions: list[Decision]) -> GrammarService:
    """Prepare structured output; nothing starts here."""
    structured, model = config.structured, config.model
    backend = resolve_backend(structured.grammar_backend)
    why = "as asked" if structured.grammar_backend != "auto" else "the first that is installed"
    decisions.append(Decision("structured.grammar_backend", backend or "off", why))
    read = partial(
        read_vocabulary,
        model.tokenizer or str(facts.folder),
        model.revision,
        facts.spec.vocab_size,
        tuple(facts.spec.eos_ids),
    )
    limits = Limits(structured.grammar_compile_seconds, structured.grammar_compile_memory_bytes)
    return GrammarService(backend, read, limits, structured.grammar_cache_bytes)


def fingerprint(config: Config, facts: Facts, kv_format: str) -> str:
    """Return the salt of the prefix cache: blocks are shared only between equals of it.

    It covers the model's config, its weights (names, sizes and times of the files, or the seed of random
    ones), the dtype, the way rows are computed, and the KV format.
    """
    model, files = config.model, files_at(facts.folder)
    parts: list[object] = [kv_format, model.dtype, model.batch_invariant, model.max_model_len]
    parts += [model.kernels, model.quantization, model.quantization_group]
    parts.append(files.raw())
    if model.load_format == "dummy":
        parts.append(("dummy", model.seed))
    else:
        parts += files.stamps()
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
