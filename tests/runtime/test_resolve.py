"""Every auto setting becomes a value with a reason; what was given stays."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from penstock.config.settings import (
    CacheConfig,
    Config,
    ModelConfig,
    ObserveConfig,
    ScheduleConfig,
    StructuredConfig,
)
from penstock.core.errors import ConfigError
from penstock.models.spec import ModelSpec, NormSpec
from penstock.runtime import resolve as module
from penstock.runtime.host import user_cache
from penstock.runtime.resolve import Facts, gather_facts, resolve, thread_count

SPEC = ModelSpec(
    architecture="LlamaForCausalLM",
    vocab_size=10,
    hidden=4,
    blocks=(),
    norm=NormSpec("rms", 1e-5),
    norm_sites=frozenset(),
    max_position=4096,
    dtype=torch.bfloat16,
)
CPU = Facts(Path("/models/tiny-chat"), SPEC, cuda=False, cores=6)
CUDA = replace(CPU, cuda=True)


def test_autos_on_cpu():
    config, decisions = resolve(Config(), CPU)
    assert config.model.model == "/models/tiny-chat"
    assert config.model.served_model_name == "tiny-chat"
    assert (config.model.device, config.model.dtype, config.model.max_model_len) == ("cpu", "bfloat16", 4096)
    assert not config.model.cuda_graphs
    assert config.cache.block_size == 32
    assert (config.schedule.max_num_batched_tokens, config.schedule.pipeline_depth) == (512, 0)
    told = {d.name: d.value for d in decisions}
    assert told["threads"] == "1"
    assert told["cache.block_size"] == "32"
    assert all(d.why for d in decisions)


def test_kernels_are_taken_where_they_can_be():
    def found(facts, **model):
        config, decisions = resolve(Config(model=ModelConfig(**model)), facts)
        return config.model.kernels, {d.name: d.why for d in decisions}.get("model.kernels", "")

    fast = replace(CPU, isa="avx512")
    assert found(fast) == ("native", "compiled, for avx512")
    assert found(replace(fast, isa_drawback="no more"))[1] == "compiled, for avx512; no more"
    assert found(fast, dtype="float16")[0] == "torch"
    assert found(fast, kernels="torch") == ("torch", "")
    assert found(CUDA)[0] == "torch"
    kernels, why = found(replace(CPU, no_kernels="the CPU kernels were not built"))
    assert kernels == "torch" and "slower" in why and "not built" in why


def test_packed_weights_are_kept_where_it_pays():
    def found(facts, **model):
        config, decisions = resolve(Config(model=ModelConfig(**model)), facts)
        return config.model.packed_cache, {d.name: d.why for d in decisions}.get("model.packed_cache", "")

    home = replace(CPU, user_cache=Path("/home/x/.cache"))
    large = replace(home, spec=replace(SPEC, vocab_size=module.LEAST_KEPT // 8, tied=True))  # times 4 times 2
    assert module.weight_bytes(large.spec, torch.bfloat16) - module.LEAST_KEPT < 100
    assert found(large) == ("/home/x/.cache/penstock/packed", "in the user's cache folder")
    small = replace(home, spec=replace(large.spec, vocab_size=module.LEAST_KEPT // 8 - 10))
    assert found(small) == ("off", "so few weights are packed in no time")
    assert found(small, dtype="float32")[0] == "/home/x/.cache/penstock/packed"
    assert found(replace(large, user_cache=None)) == ("off", "the user has no cache folder")
    assert found(small, packed_cache="/fast")[0] == "/fast"
    for nothing in ({"kernels": "torch"}, {"dtype": "float16"}, {"load_format": "dummy"}):
        assert found(large, **nothing) == ("off", "")
    assert found(replace(large, cuda=True)) == ("off", "")


def test_where_the_user_keeps_things(monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    for given, expected in (("/c", "/c"), ("", "/home/x/.cache"), ("relative", "/home/x/.cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert user_cache() == Path(expected)
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert user_cache() == Path("/home/x/.cache")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert user_cache() is None


def test_autos_on_cuda():
    config, decisions = resolve(Config(), CUDA)
    assert (config.model.device, config.cache.block_size) == ("cuda", 16)
    assert config.model.cuda_graphs
    assert (config.schedule.max_num_batched_tokens, config.schedule.pipeline_depth) == (2048, 1)
    assert "threads" not in {d.name for d in decisions}


def test_what_was_given_stays_and_needs_no_decision():
    given = Config(
        model=ModelConfig(
            model="org/name", served_model_name="x", device="cpu", dtype="float16", max_model_len=100,
            cuda_graphs=False, kernels="torch", packed_cache="off",
        ),
        cache=CacheConfig(block_size=8, kv_cache_memory_bytes=5),
        schedule=ScheduleConfig(max_num_batched_tokens=64, pipeline_depth=1),
    )  # fmt: skip
    config, decisions = resolve(given, CUDA)
    assert config == given
    assert [d.name for d in decisions] == ["threads"]


def test_it_is_pure_and_settles():
    first = resolve(Config(), CPU)
    assert resolve(Config(), CPU) == first
    assert resolve(first[0], CPU)[0] == first[0]


def test_the_token_budget_holds_a_row_for_every_sequence():
    config, _ = resolve(Config(schedule=ScheduleConfig(max_num_seqs=900)), CPU)
    assert config.schedule.max_num_batched_tokens == 900


def test_hub_names_serve_under_their_name():
    config, _ = resolve(Config(model=ModelConfig(model="org/name")), CPU)
    assert config.model.served_model_name == "org/name"


def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"model\.device: asked for cuda"):
        resolve(Config(model=ModelConfig(device="cuda")), CPU)


def test_quantised_float16_checkpoints_keep_their_codes():
    def found(facts, **model):
        model = resolve(Config(model=ModelConfig(**model)), facts)[0].model
        return model.dtype, model.kernels

    half = replace(CPU, isa="avx512", spec=replace(SPEC, dtype=torch.float16))
    codes = replace(half, spec=replace(half.spec, quantised=True))
    assert found(half) == ("float16", "torch")
    assert found(codes) == ("bfloat16", "native")
    assert found(codes, dtype="float16") == found(codes, kernels="torch") == ("float16", "torch")
    assert found(replace(codes, no_kernels="no compiler")) == ("float16", "torch")


def test_a_small_model_computes_on_one_thread():
    assert thread_count(CPU, 10_000_000)[0] == 1
    assert thread_count(CPU, 50_000_000)[0] == CPU.cores


def test_threads_follow_the_environment(monkeypatch, tmp_path):
    assert thread_count(replace(CPU, threads_from_env=3), 10**9) == (3, "OMP_NUM_THREADS says so")
    monkeypatch.setattr(module, "read_spec", lambda folder: SPEC)
    config = Config(model=ModelConfig(model=str(tmp_path)))
    for text, expected in (("5", 5), ("", None), ("many", None), ("0", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert gather_facts(config).threads_from_env == expected


def test_a_missing_bundled_model_is_a_config_error(monkeypatch):
    def none(name):
        raise FileNotFoundError("no bundled model")

    monkeypatch.setattr(module, "named_model", none)
    with pytest.raises(ConfigError, match=r"model\.model: empty means the bundled model"):
        gather_facts(Config())


def test_every_field_survives():
    given = Config(schedule=ScheduleConfig(order="fcfs"))
    config, _ = resolve(given, CPU)
    assert config.schedule.order == "fcfs"
    assert msgspec.structs.replace(config.server) == given.server


def test_sections_that_need_no_resolving_are_passed_on():
    given = msgspec.structs.replace(
        Config(),
        observe=ObserveConfig(trace_steps="x.json"),
        structured=StructuredConfig(grammar_backend="off"),
    )
    config, _ = resolve(given, CPU)
    assert (config.server, config.observe, config.structured) == (
        given.server,
        given.observe,
        given.structured,
    )
