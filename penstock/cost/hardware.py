"""Devices as data: what each can do at best, from public data sheets, and what share of it is reached."""

from __future__ import annotations

import msgspec

from penstock.core.errors import ConfigError

TERA, GIGA = 1e12, 1e9


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """One device; a row may also be given by numbers, such as measured ones."""

    name: str = "custom"
    flops: float
    """Dense arithmetic operations per second, bf16 unless the row says otherwise."""
    bandwidth: float
    """Bytes per second from the memory that holds weights and KV."""
    memory: float = 80e9
    """Bytes of that memory."""
    link: float = 25e9
    """Bytes per second, one direction, that one device of a group exchanges with the others."""
    host_link: float = 25e9
    """Bytes per second, one direction, between device and host memory."""
    link_efficiency: float = 0.7
    """Share of `link` that collectives reach."""
    link_latency: float = 1e-5
    """Seconds before the first byte of a collective arrives (launch and synchronisation)."""
    compute_efficiency: float = 0.6
    """Share of `flops` that large matrix products reach."""
    bandwidth_efficiency: float = 0.8
    """Share of `bandwidth` that streaming weights and KV reaches."""
    overhead: float = 2e-4
    """Seconds per step that neither arithmetic nor memory explains."""


def _gpu(
    name: str, tflops: float, gbps: float, gigabytes: float, host_link: float, nvlink: float = 0.0
) -> Hardware:
    return Hardware(
        name=name,
        flops=tflops * TERA,
        bandwidth=gbps * GIGA,
        memory=gigabytes * GIGA,
        link=(nvlink or host_link) * GIGA,
        host_link=host_link * GIGA,
        # Over PCIe, collectives cross the host bridge: NCCL reaches about a quarter and starts later.
        link_efficiency=0.7 if nvlink else 0.25,
        link_latency=1e-5 if nvlink else 2e-5,
    )


# Peak figures are dense (no sparsity); links count one direction. NVLink data sheets state both directions
# together, so half of that. PCIe: 16 GB/s for generation 3 x16, 32 for generation 4, 64 for generation 5.
GPUS: tuple[Hardware, ...] = (
    # NVIDIA T4 data sheet: 65 TFLOPS fp16 (no bf16), 320 GB/s, 16 GB, PCIe 3.
    _gpu("t4", 65, 320, 16, 16),
    # NVIDIA A10G (AWS G5 product page and data sheet): 70 TFLOPS fp16, 600 GB/s, 24 GB, PCIe 4.
    _gpu("a10g", 70, 600, 24, 32),
    # NVIDIA L4 data sheet: 242 TFLOPS with sparsity, so 121 dense; 300 GB/s, 24 GB, PCIe 4.
    _gpu("l4", 121, 300, 24, 32),
    # NVIDIA A100 data sheets (SXM): 312 TFLOPS; 40 GB at 1,555 GB/s, 80 GB at 2,039 GB/s; NVLink 600 GB/s.
    _gpu("a100-40g", 312, 1555, 40, 32, 300),
    _gpu("a100-80g", 312, 2039, 80, 32, 300),
    # NVIDIA H100 data sheet (SXM): 1,979 TFLOPS with sparsity; 3.35 TB/s, 80 GB; NVLink 900 GB/s; PCIe 5.
    _gpu("h100", 989.5, 3350, 80, 64, 450),
    # NVIDIA H200 data sheet: arithmetic of the H100; 4.8 TB/s, 141 GB.
    _gpu("h200", 989.5, 4800, 141, 64, 450),
    # NVIDIA GH200 data sheet: H100 arithmetic, 96 GB HBM3 at 4 TB/s, NVLink and host link 900 GB/s each.
    _gpu("gh200", 989.5, 4000, 96, 450, 450),
    # NVIDIA HGX B200 data sheet: 36 PFLOPS with sparsity for eight, 1.44 TB, 8 TB/s each; NVLink 1.8 TB/s.
    _gpu("b200", 2250, 8000, 180, 64, 900),
    # NVIDIA Ada architecture paper: RTX 4090 165.2 TFLOPS (fp32 accumulation), 1,008 GB/s, 24 GB, PCIe 4.
    _gpu("rtx4090", 165.2, 1008, 24, 32),
    # NVIDIA L40S data sheet: 362 TFLOPS dense, 864 GB/s, 48 GB, PCIe 4.
    _gpu("l40s", 362, 864, 48, 32),
    # NVIDIA RTX A6000 data sheet, GA102 paper: 154.8 TFLOPS dense, 768 GB/s, 48 GB; NVLink 112.5 GB/s.
    _gpu("a6000", 154.8, 768, 48, 32, 56.25),
    # NVIDIA RTX PRO 6000 Blackwell data sheet: 4 PFLOPS fp4 with sparsity, an eighth of it dense at 16 bits;
    # 1,597 GB/s (server edition), 96 GB, PCIe 5.
    _gpu("rtxpro6000", 503, 1597, 96, 64),
)
ALIASES = {
    "a100": "a100-80g",
    "h100-sxm": "h100",
    "h100-80g": "h100",
    "gh200-96g": "gh200",
    "rtx-4090": "rtx4090",
    "4090": "rtx4090",
    "rtx-a6000": "a6000",
}

# Operations per cycle and core. Intel 64 and IA-32 Optimization Reference Manual: two FMA ports of 8 (AVX2)
# or 16 (AVX-512) fp32 lanes; VDPBF16PS doubles that; AMX tiles reach 1,024 bf16 operations. Arm Neoverse V2
# software optimisation guide: four 128-bit pipes, BFMMLA.
OPS_PER_CYCLE = {"avx2": 32.0, "avx512": 64.0, "avx512-bf16": 128.0, "amx": 1024.0, "neon-bf16": 128.0}


def cpu(instructions: str, cores: int, hertz: float = 2.5e9, bandwidth: float = 0.0) -> Hardware:
    """Return a CPU's row from its instruction set.

    Args:
        instructions: a key of `OPS_PER_CYCLE`.
        cores: cores that compute.
        hertz: clock under vector load.
        bandwidth: bytes per second; 0 takes 10 GB/s a core, at most 300 GB/s (eight channels of DDR5-4800).

    Raises:
        ConfigError: no such instruction set, or no core.
    """
    if instructions not in OPS_PER_CYCLE:
        raise ConfigError("hardware", f"knows the instruction sets {', '.join(OPS_PER_CYCLE)}")
    if cores < 1:
        raise ConfigError("hardware", f"a CPU needs at least one core, got {cores}")
    reach = bandwidth or min(10e9 * cores, 300e9)
    return Hardware(
        name=f"cpu-{instructions}-{cores}",
        flops=OPS_PER_CYCLE[instructions] * hertz * cores,
        bandwidth=reach,
        memory=64e9,
        link=10e9,
        host_link=reach,
        # Tiles wait for loads: small cores reach a tenth of AMX's peak and about half of a vector unit's.
        compute_efficiency=0.15 if instructions == "amx" else 0.5,
        overhead=1e-3,
    )


def hardware(name: str) -> Hardware:
    """Look a device up: a GPU's name in any case, or ``cpu-amx-8`` (instruction set, cores).

    Raises:
        ConfigError: no such device; it names those there are.
    """
    key = name.strip().lower().replace("_", "-")
    key = ALIASES.get(key, key)
    rows = {row.name: row for row in GPUS}
    if key in rows:
        return rows[key]
    if key.startswith("cpu"):
        kind, _, cores = key.removeprefix("cpu").strip("-").rpartition("-")
        if not cores.isdigit():
            kind, cores = (f"{kind}-{cores}" if kind else cores), "1"
        return cpu(kind or "avx512", int(cores))
    raise ConfigError(
        "hardware", f"{name!r} is not known; there are {', '.join(rows)} and cpu-<instruction set>-<cores>"
    )
