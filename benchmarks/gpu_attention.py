"""Times paged attention on a CUDA device: our Triton kernels beside FlashInfer and torch's varlen attention.

Every arm attends the same queries over the same keys, spread over a few layers so that no layer's KV stays
in the cache. Arms are interleaved round by round and compared by the median of their ratios within a round.
An arm that cannot run says why. Prints one JSON object.

    python benchmarks/gpu_attention.py [--rounds 20] [--page 16] [--kv-heads 8] [--heads 32] [--head-dim 128]
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from penstock.kernels.attention.base import LayerKV
from penstock.kernels.codec import RawCodec
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.rows import StepRows

DEVICE = "cuda"
LAYERS = 4
Arm = Callable[[], list[Tensor]]
"""Attends all layers once; returns their outputs ``[N, H, D]``."""


@dataclass
class Problem:
    """One step: LAYERS stores of equal shape, and the rows that attend them."""

    rows: StepRows
    spec: LayerSpec
    page: int
    q_NHD: Tensor
    stores: list[LayerKV]

    def cumulative(self, lengths: list[int]) -> Tensor:
        """Return int32 ``[0, l0, l0 + l1, ...]`` on the device."""
        return torch.tensor([0, *lengths], device=DEVICE).cumsum(0).int()


def make_problem(steps: list[tuple[int, int, int]], args: argparse.Namespace) -> Problem:
    """Build a step of ``count`` sequences each of (count, rows, context length)."""
    q_lens = [q for count, q, _ in steps for _ in range(count)]
    kv_lens = [kv for count, _, kv in steps for _ in range(count)]
    pages = [-(-n // args.page) for n in kv_lens]
    order = torch.randperm(sum(pages), device=DEVICE, dtype=torch.int32)
    table = torch.zeros(len(pages), max(pages), dtype=torch.int32, device=DEVICE)
    at = 0
    for s, count in enumerate(pages):
        table[s, :count] = order[at : at + count]
        at += count
    none = torch.zeros(0, dtype=torch.int64, device=DEVICE)
    positions = [torch.arange(kv - q, kv, device=DEVICE) for q, kv in zip(q_lens, kv_lens, strict=True)]
    n = sum(q_lens)
    rows = StepRows(
        tokens_N=torch.zeros(n, dtype=torch.int64, device=DEVICE),
        positions_N=torch.cat(positions),
        kv_slots_N=none,
        block_table_SB=table,
        q_lens=q_lens,
        kv_lens=kv_lens,
        sample_rows_R=none,
    )
    shape = (sum(pages), args.kv_heads, args.page, args.head_dim)
    stores = [
        LayerKV({x: torch.randn(shape, dtype=torch.bfloat16, device=DEVICE) for x in "kv"}, RawCodec())
        for _ in range(LAYERS)
    ]
    spec = LayerSpec(0, args.heads, args.kv_heads, args.head_dim, args.head_dim**-0.5)
    q_NHD = torch.randn(n, args.heads, args.head_dim, dtype=torch.bfloat16, device=DEVICE)
    return Problem(rows, spec, args.page, q_NHD, stores)


def triton_arm(problem: Problem, **options: int) -> Arm:
    """Our kernels, planned outside the timing as the runner does it: once for all layers."""
    from penstock.kernels.triton.attention import TritonAttention

    backend = TritonAttention(**options)
    plan = backend.plan(problem.rows, problem.page)
    return lambda: [backend.attend(problem.q_NHD, kv, problem.spec, plan).out_NHD for kv in problem.stores]


def varlen_arm(problem: Problem) -> Arm:
    """`torch.nn.attention.varlen` with a block table (needs FlashAttention 3); its layout is page-major."""
    from torch.nn.attention.varlen import varlen_attn

    rows = problem.rows
    stores = [tuple(kv.planes[x].transpose(1, 2).contiguous() for x in "kv") for kv in problem.stores]
    cu_q = problem.cumulative(rows.q_lens)
    used = torch.tensor(rows.kv_lens, dtype=torch.int32, device=DEVICE)
    common = {
        "window_size": (-1, 0),
        "enable_gqa": True,
        "seqused_k": used,
        "block_table": rows.block_table_SB,
    }
    most_q, most_k = max(rows.q_lens), max(rows.kv_lens)
    return lambda: [
        varlen_attn(problem.q_NHD, k, v, cu_q, None, most_q, most_k, scale=problem.spec.scale, **common)
        for k, v in stores
    ]


def flashinfer_arm(problem: Problem) -> Arm:
    """FlashInfer's paged wrappers on our layout: the decode one where every sequence has one row."""
    import flashinfer

    rows, spec, page = problem.rows, problem.spec, problem.page
    pages = [-(-n // page) for n in rows.kv_lens]
    indices = torch.cat([rows.block_table_SB[s, :count] for s, count in enumerate(pages)])
    last = torch.tensor([(n - 1) % page + 1 for n in rows.kv_lens], dtype=torch.int32, device=DEVICE)
    workspace = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE)
    kv_args = (problem.cumulative(pages), indices, last, spec.heads, spec.kv_heads, spec.head_dim, page)
    types = {"q_data_type": torch.bfloat16, "kv_data_type": torch.bfloat16, "sm_scale": spec.scale}
    if max(rows.q_lens) == 1:
        wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "HND", use_tensor_cores=True)
        wrapper.plan(*kv_args, **types)
    else:
        wrapper = flashinfer.BatchPrefillWithPagedKVCacheWrapper(workspace, "HND")
        wrapper.plan(problem.cumulative(rows.q_lens), *kv_args, causal=True, **types)
    return lambda: [wrapper.run(problem.q_NHD, (kv.planes["k"], kv.planes["v"])) for kv in problem.stores]


ARMS: dict[str, Callable[[Problem], Arm]] = {
    "triton": triton_arm,
    "triton-tile128": lambda problem: triton_arm(problem, long_m=128),
    "torch-varlen": varlen_arm,
    "flashinfer": flashinfer_arm,
}


def capture(arm: Arm) -> Callable[[], object]:
    """Record an arm that has run once, so that what is timed is the device and not Python."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        arm()
    return graph.replay


def prepare(problem: Problem) -> tuple[dict[str, Callable[[], object]], dict[str, dict]]:
    """Capture every arm that can run; return their replays, and per arm its error or why it cannot run."""
    from penstock.kernels.attention.torch_backend import TorchAttention

    oracle = TorchAttention()
    plan = oracle.plan(problem.rows, problem.page)
    want = oracle.attend(problem.q_NHD, problem.stores[-1], problem.spec, plan).out_NHD.float()
    replays: dict[str, Callable[[], object]] = {}
    notes: dict[str, dict] = {}
    for name, build in ARMS.items():
        try:
            arm = build(problem)
            got = arm()[-1].float()
            replays[name] = capture(arm)
        except Exception as error:  # an absent package, an unsupported layout, a failed compilation
            notes[name] = {"unavailable": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
            continue
        notes[name] = {"max_error": float((got - want).abs().max())}
    return replays, notes


def seconds(replay: Callable[[], object], repeats: int) -> float:
    """Return device seconds of one layer."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        replay()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / 1e3 / repeats / LAYERS


def interleave(replays: dict[str, Callable[[], object]], rounds: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each arm by round; the first round warms up and is dropped."""
    times: dict[str, list[float]] = {name: [] for name in replays}
    names = list(replays)
    for index in range(rounds + 1):
        turn = index % max(len(names), 1)
        for name in names[turn:] + names[:turn]:
            times[name].append(seconds(replays[name], repeats))
    return {name: values[1:] for name, values in times.items()}


def summarise(times: dict[str, list[float]], moved: int, work: int) -> dict[str, dict[str, float]]:
    """Return the median per arm, the paired ratio to the first arm (below 1 is faster), and rates.

    Args:
        times: seconds by arm and round.
        moved: bytes of KV that a layer has to read.
        work: floating-point operations of a layer.
    """
    out: dict[str, dict[str, float]] = {}
    first = next(iter(times.values()), [])
    for name, values in times.items():
        middle = statistics.median(values)
        ratios = [value / base for value, base in zip(values, first, strict=True)]
        out[name] = {
            "microseconds": middle * 1e6,
            "ratio": statistics.median(ratios),
            "terabytes_per_second": moved / middle / 1e12,
            "teraflops": work / middle / 1e12,
        }
    return out


SCENARIOS: dict[str, list[tuple[int, int, int]]] = {
    "decode-1x4096": [(1, 1, 4096)],
    "decode-32x2048": [(32, 1, 2048)],
    "decode-256x1024": [(256, 1, 1024)],
    "prefill-4096": [(1, 4096, 4096)],
    "chunk-512-of-8192": [(4, 512, 8192)],
    "mixed": [(64, 1, 2048), (1, 1024, 1024)],
}
"""Steps as (sequences, rows of each, context length of each)."""


def main() -> int:
    """Run all scenarios; return 2 where there is no CUDA device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("rounds", 20), ("repeats", 10), ("page", 16), ("heads", 32), ("kv-heads", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--head-dim", type=int, default=128)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("gpu_attention needs a CUDA device, and none is here", file=sys.stderr)
        return 2
    report: dict[str, object] = {"device": torch.cuda.get_device_name(), "settings": vars(args)}
    for name, steps in SCENARIOS.items():
        problem = make_problem(steps, args)
        replays, notes = prepare(problem)
        moved = sum(problem.rows.kv_lens) * args.kv_heads * args.head_dim * 2 * 2
        pairs = sum(n * q * (kv - (q - 1) / 2) for n, q, kv in steps)
        times = interleave(replays, args.rounds, args.repeats)
        figures = summarise(times, moved, int(pairs * args.heads * args.head_dim * 4))
        report[name] = {arm: notes[arm] | figures.get(arm, {}) for arm in notes}
        del problem, replays
        torch.cuda.empty_cache()
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
