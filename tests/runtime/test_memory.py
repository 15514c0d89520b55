"""The memory plan: arithmetic, refusals with the number that would do, limits of control groups."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from penstock.core.errors import ConfigError
from penstock.kernels.layer_spec import LayerSpec
from penstock.models.spec import BlockSpec, MlpSpec, ModelSpec, NormSpec
from penstock.runtime.estimate import Shape, activation_bytes, human
from penstock.runtime.host import Available, available_memory, usable_cores
from penstock.runtime.memory import CPU_KV_DEFAULT, MemoryReport, plan_memory

MIB, GIB = 2**20, 2**30
SHAPE = Shape(max_num_seqs=8, max_num_batched_tokens=256, max_model_len=1000, page_size=32)


def spec():
    layer = LayerSpec(index=0, heads=4, kv_heads=2, head_dim=16, scale=0.25)
    block = BlockSpec(layer, MlpSpec(128, "silu"))
    return ModelSpec(
        architecture="LlamaForCausalLM",
        vocab_size=1000,
        hidden=64,
        blocks=(block,),
        norm=NormSpec("rms", 1e-5),
        norm_sites=frozenset(),
        max_position=1000,
        dtype=torch.float32,
    )


def plan(shape=SHAPE, free=64 * GIB, **given):
    arguments = {
        "device": "cpu",
        "dtype": torch.float32,
        "weights": 100 * MIB,
        "block_bytes": 1 * MIB,
        "available": Available(free, "a test"),
        "baseline": 300 * MIB,
        "fraction": 0.5,
    }
    return plan_memory(spec(), shape, **{**arguments, **given})


def test_default_is_enough_for_every_sequence_and_no_more():
    p = plan()
    assert p.blocks == 8 * 32  # ceil(1000 / 32) pages for each of 8 sequences
    assert "max_num_seqs" in p.kv_why
    assert p.kv == (p.blocks + 1) * MIB
    assert p.total == p.baseline + p.weights + p.kv + p.activations + p.logits
    assert p.headroom == 64 * GIB - (p.total - p.baseline)


def test_default_is_bounded_by_the_fraction_and_on_cpu_by_a_cap():
    p = plan(free=2 * GIB, shape=replace(SHAPE, max_num_seqs=4096))
    assert p.weights + p.kv + p.activations + p.logits <= GIB
    assert GIB - (p.weights + p.kv + p.activations + p.logits) < p.block_bytes
    assert "50% of the available memory" in p.kv_why
    p = plan(shape=replace(SHAPE, max_num_seqs=4096))
    assert CPU_KV_DEFAULT - p.block_bytes < p.kv <= CPU_KV_DEFAULT
    assert "cache.kv_cache_memory_bytes" in p.kv_why
    assert plan(shape=replace(SHAPE, max_num_seqs=4096), device="cuda").kv > CPU_KV_DEFAULT


def test_an_asked_for_budget_is_taken_as_it_is():
    assert plan(kv_bytes=100 * MIB).kv == 100 * MIB
    assert plan(kv_bytes=20 * GIB).kv == 20 * GIB


@pytest.mark.parametrize("asked", [1, 5 * MIB, 33 * MIB - 1])
def test_a_budget_too_small_for_one_request_names_what_would_do(asked):
    with pytest.raises(ConfigError) as caught:
        plan(kv_bytes=asked)
    error = caught.value
    assert error.field == "cache.kv_cache_memory_bytes"
    need = int(re.search(r"at least (\d+) bytes", error.message)[1])
    assert need == 33 * MIB  # 32 pages and the scratch page
    assert plan(kv_bytes=need).blocks * 32 >= 1000
    fits = re.search(r"max_model_len of at most (\d+) would do", error.message)
    if asked < 2 * MIB:
        assert fits is None
    else:
        assert plan(kv_bytes=asked, shape=replace(SHAPE, max_model_len=int(fits[1])))
        with pytest.raises(ConfigError):
            plan(kv_bytes=asked, shape=replace(SHAPE, max_model_len=int(fits[1]) + 1))


def test_a_machine_too_small_says_which_setting_would_help():
    with pytest.raises(ConfigError, match=r"memory_fraction=0\.5 leaves for KV.*at least 34603008 bytes"):
        plan(free=300 * MIB)
    with pytest.raises(ConfigError, match=r"exceed the 1\.00 GiB available"):
        plan(free=GIB, kv_bytes=GIB)


def test_activations_grow_with_what_they_depend_on():
    base = activation_bytes(spec(), SHAPE, 4)
    assert activation_bytes(spec(), replace(SHAPE, max_num_batched_tokens=512), 4) > base
    assert activation_bytes(spec(), SHAPE, 2) < base
    wider = replace(spec(), blocks=(replace(spec().blocks[0], mlp=MlpSpec(4096, "silu")),))
    assert activation_bytes(wider, SHAPE, 4) > base


def test_the_plan_is_readable():
    text = plan().text()
    for word in (
        "weights",
        "KV cache",
        "activations",
        "logits",
        "baseline",
        "total",
        "256 blocks of 32 tokens",
    ):
        assert word in text
    from rich.console import Console

    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(plan())
    assert "KV cache" in console.export_text()
    assert [human(n) for n in (512, 3 * MIB, 5 * GIB)] == ["0.5 KiB", "3.0 MiB", "5.00 GiB"]


def test_report_compares_planned_and_resident():
    p = plan()
    assert p.report(resident=p.total).off_by == p.report(resident=p.at_rest).off_by == 0
    over, under = MemoryReport(100, 200, 210), MemoryReport(100, 200, 95)
    assert (over.off_by, under.off_by) == (pytest.approx(0.05), pytest.approx(-0.05))
    assert "+5.0% outside the plan" in over.text()
    assert "as planned" in MemoryReport(100, 200, 150).text()


ALLOCATE = """
from penstock.runtime.host import resident_bytes
from penstock.runtime.memory import measure_resident
before = measure_resident("cpu")
block = bytearray(b"x") * (64 * 2**20)
print(resident_bytes() - before)
"""


def test_resident_memory_follows_an_allocation():
    # In a process of its own: here, other tests' memory may be given back at any moment.
    done = subprocess.run([sys.executable, "-c", ALLOCATE], capture_output=True, text=True, check=True)
    assert 60 * MIB < int(done.stdout) < 80 * MIB


def fake_machine(tmp_path, available_kib, group="/", files=None):
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: 99 kB\nMemAvailable: {available_kib} kB\n")
    (proc / "self" / "cgroup").write_text(group + "\n")
    cgroup.mkdir()
    for name, text in (files or {}).items():
        path = cgroup / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"proc": proc, "cgroup": cgroup}


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/", {}, 4096 * 1024),
        ("0::/", {"memory.max": "max\n", "memory.current": "5\n"}, 4096 * 1024),
        ("0::/", {"memory.max": "1000000\n", "memory.current": "400000\n"}, 600_000),
        (
            "0::/",
            {
                "memory.max": "1000000",
                "memory.current": "400000",
                "memory.stat": "inactive_file 100000\n",
            },
            700_000,
        ),
        ("0::/a/b", {"a/memory.max": "1000", "a/memory.current": "300", "a/b/memory.max": "max"}, 700),
        ("0::/a/b", {"a/b/memory.max": "100", "a/b/memory.current": "300"}, 0),
        (
            "5:cpu,memory:/x\n4:pids:/y",
            {"memory/x/memory.limit_in_bytes": "5000", "memory/x/memory.usage_in_bytes": "1000"},
            4000,
        ),
    ],
)
def test_available_memory_respects_control_groups(tmp_path, group, files, expected):
    got = available_memory("cpu", **fake_machine(tmp_path, 4096, group, files))
    assert got.bytes == expected
    assert ("control group" in got.source) == (expected != 4096 * 1024)


def test_cores_respect_control_groups(tmp_path):
    here = usable_cores(**fake_machine(tmp_path / "free", 1, "0::/", {"cpu.max": "max 100000"}))
    assert here >= 1
    limited = fake_machine(tmp_path / "tight", 1, "0::/a", {"a/cpu.max": "150000 100000"})
    assert usable_cores(**limited) == 1
