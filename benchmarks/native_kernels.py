"""The compiled CPU kernels beside torch, in one run and in turns: a product of a 0.6B model's shape, what
follows the first product of its layers, and a model (the bundled one if none is given) generating offline.

    python benchmarks/native_kernels.py                   # a table; about three minutes on an idle machine
    python benchmarks/native_kernels.py --save benchmarks/results

Matrices are rotated through a pool larger than the caches, as the layers of a model are. Figures are medians
of the rounds; brackets hold the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from penstock.bench.report import envelope, result_path, write_result
from penstock.kernels.attention.base import LayerKV
from penstock.kernels.codec import CODECS
from penstock.kernels.codes import round_to_nearest
from penstock.kernels.heads import HeadPrep, PrepareHeads, Stepwise, Turn
from penstock.kernels.layer_spec import LayerSpec
from penstock.kernels.native.attention import NativeAttention
from penstock.kernels.native.heads import NativeHeads
from penstock.kernels.native.library import isa, start_team
from penstock.kernels.native.ops import NativeOps
from penstock.kernels.native.packed import Packed
from penstock.kernels.ops import TorchOps
from penstock.kernels.store import KVStore

OUTPUTS, INPUTS, POOL = 6144, 1024, 24
ROWS = (1, 4, 16, 64, 256, 512)


def timed(call: Callable[[int], object], seconds: float) -> float:
    """Return the seconds of one call, over as many as fit."""
    call(0)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += 1
        call(count % POOL)
    return (time.perf_counter() - began) / count


def products(rounds: int) -> list[dict[str, Any]]:
    """Return microseconds per product, by rows and way."""
    ops = NativeOps(TorchOps())
    pool = [torch.randn(OUTPUTS, INPUTS).bfloat16() for _ in range(POOL)]
    packed = {
        "bf16": [Packed(weight) for weight in pool],
        "int8": [Packed(round_to_nearest(weight, 8)) for weight in pool],
        "int4": [Packed(round_to_nearest(weight, 4, 32)) for weight in pool],
    }
    found = []
    for rows in ROWS:
        x_NI = torch.randn(rows, INPUTS).bfloat16()
        ways: dict[str, Callable[[int], object]] = {"torch": lambda i, x=x_NI: F.linear(x, pool[i])}
        for name, weights in packed.items():
            ways[name] = lambda i, x=x_NI, w=weights: ops.linear(x, w[i])
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, call in ways.items():
                times[name].append(timed(call, 0.2) * 1e6)
        found.append({"rows": rows, **{name: _spread(values) for name, values in times.items()}})
    return found


def heads(rounds: int) -> list[dict[str, Any]]:
    """Return microseconds of norms, rotation and storing in a layer, by codec, rows and way."""
    layer = LayerSpec(0, 16, 8, 128, 128**-0.5)
    prep = HeadPrep(torch.ones(128).bfloat16(), torch.ones(128).bfloat16(), 1e-6)
    native, plain = NativeOps(TorchOps()), TorchOps()
    found = []
    for codec in (make() for make in CODECS.values()):
        kv = KVStore([layer], codec, 64, 16, torch.bfloat16, "cpu").layer(0)
        ways: dict[str, PrepareHeads] = {
            "torch": Stepwise(layer, prep, plain, lambda kv, *rows: kv.codec.write(kv.planes, *rows)),
            "steps": Stepwise(layer, prep, native, NativeAttention().write),
            "one": NativeHeads(layer, prep),
        }
        for rows in ROWS:
            turn, slots_N = Turn(torch.full((rows, 64), 0.6), torch.full((rows, 64), 0.8)), torch.arange(rows)
            pool = [torch.randn(rows, 32 * 128).bfloat16() for _ in range(POOL)]
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, way in ways.items():
                    call = partial(_prepare, way, pool, turn, kv, slots_N)
                    times[name].append(timed(call, 0.1) * 1e6)
            spreads = {name: _spread(values) for name, values in times.items()}
            found.append({"codec": codec.name, "rows": rows, **spreads})
    return found


def _prepare(
    way: PrepareHeads, pool: list[Tensor], turn: Turn, kv: LayerKV, slots_N: Tensor, i: int
) -> Tensor:
    return way(pool[i], turn, kv, slots_N)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def generation(model: str, rounds: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return tokens per second of one request and of 32, with torch's operations and with the kernels."""
    from penstock import LLM

    ways: dict[str, dict[str, Any]] = {"torch": {"kernels": "torch"}, "native": {"kernels": "native"}}
    for bits in ("int8", "int4"):
        ways[bits] = {"kernels": "native", "quantization": bits}
    found: dict[str, dict[str, list[float]]] = {name: {"one": [], "many": []} for name in ways}
    params = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 96}
    engines = {name: LLM(model, **settings, **own) for name, own in ways.items()}
    prompts = [[3 + (7 * i + j) % 2000 for j in range(64)] for i in range(32)]
    try:
        for turn in range(rounds + 1):  # the first warms up
            for name, llm in engines.items():
                for kind, batch in (("one", prompts[:1]), ("many", prompts)):
                    llm.reset_prefix_cache()
                    began = time.perf_counter()
                    llm.generate(batch, params)
                    if turn:
                        found[name][kind].append(96 * len(batch) / (time.perf_counter() - began))
    finally:
        for llm in engines.values():
            llm.close()
    return {name: {kind: _spread(values) for kind, values in own.items()} for name, own in found.items()}


def show(result: dict[str, Any]) -> None:
    """Print both tables."""
    print(f"products [{OUTPUTS} x {INPUTS}], us per call (torch / kernels; GB/s of weights at one row)")
    for row in result["products"]:
        ratios = "  ".join(
            f"{name} {row[name]['median']:7.0f} [{row[name]['least']:.0f}..{row[name]['most']:.0f}]"
            for name in ("torch", "bf16", "int8", "int4")
        )
        print(
            f"  rows {row['rows']:4d}  {ratios}  bf16 {row['torch']['median'] / row['bf16']['median']:.2f}x"
        )
    print(
        "heads [16 + 2 x 8, 128]: norms, rotation, storing; us per layer (torch / kernels one by one / one)"
    )
    for row in result["heads"]:
        cells = "  ".join(f"{name} {row[name]['median']:7.1f}" for name in ("torch", "steps", "one"))
        print(f"  {row['codec']:4s} rows {row['rows']:4d}  {cells}")
    print("generation, output tokens/s")
    base = result["generation"]["torch"]
    for name, own in result["generation"].items():
        cells = "  ".join(
            f"{kind} {own[kind]['median']:8.1f} [{own[kind]['least']:.0f}..{own[kind]['most']:.0f}]"
            f" {own[kind]['median'] / base[kind]['median']:.2f}x"
            for kind in ("one", "many")
        )
        print(f"  {name:7s} {cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="", help="folder or hub name; the bundled model if not given")
    parser.add_argument(
        "--dummy", action="store_true", help="random weights: only the folder's config is read"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", help="folder to write the result to, as JSON")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    start_team(args.threads)
    result: dict[str, Any] = {"products": products(args.rounds), "heads": heads(args.rounds)}
    more = {"load_format": "dummy", "dtype": "bfloat16"} if args.dummy else {}
    result["generation"] = generation(args.model, args.rounds, more)
    show(result)
    if args.save:
        settings = {
            "isa": isa(),
            "threads": args.threads,
            "rounds": args.rounds,
            "model": args.model or "bundled",
        }
        path = result_path(args.save, "native-kernels")
        write_result(path, {**envelope("native-kernels", settings), **result})
        print(path)


if __name__ == "__main__":
    main()
