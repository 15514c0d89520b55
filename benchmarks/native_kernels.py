"""The compiled CPU kernels beside torch, in one run and in turns: a product of a 0.6B model's shape, what
follows the first product of its layers, mixtures of experts one by one and together, and a model (the bundled
one if none is given) generating offline.

    python benchmarks/native_kernels.py                   # tables; about six minutes on an idle machine
    python benchmarks/native_kernels.py --only experts    # one of them
    python benchmarks/native_kernels.py --save benchmarks/results

Matrices are rotated through a pool larger than the caches, as the layers of a model are. Figures are medians
of the rounds; brackets hold the least and the most.
"""

from __future__ import annotations

import argparse
import itertools
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
from penstock.kernels.ops import TorchOps, Weight
from penstock.kernels.store import KVStore

OUTPUTS, INPUTS, POOL = 6144, 1024, 24
ROWS = (1, 4, 16, 64, 256, 512)
MIXTURES, MIXTURE_ROWS = ((8, 2, 256, 160), (32, 4, 1024, 512)), (1, 16, 256)
"""Experts, experts per row, hidden size and feed-forward width; and rows."""
FORMS = {"bf16": 0, "int8": 8, "int4": 4}
BEYOND_CACHES, ROUTES = 64 << 20, 8
"""Bytes of experts that calls go round, and choices of them: another one on each round."""
PARTS = ("products", "heads", "experts", "generation")


def timed(call: Callable[[int], object], seconds: float, pool: int = POOL) -> float:
    """Return the seconds of one call, over as many as fit."""
    call(0)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        count += 1
        call(count % pool)
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


def experts(rounds: int) -> list[dict[str, Any]]:
    """Return microseconds per layer of experts, by shape, format and rows: one by one, and grouped."""
    ops = NativeOps(TorchOps())
    found = []
    for (count, top_k, hidden, width), (form, bits) in itertools.product(MIXTURES, FORMS.items()):
        layers = _mixtures(ops, count, hidden, width, bits)
        bundles = [tuple(ops.bundle(weights) for weights in layer) for layer in layers]
        for rows in MIXTURE_ROWS:
            x_NE = torch.randn(rows, hidden).bfloat16()
            routes = [ops.route(torch.randn(rows, count), top_k, True) for _ in range(ROUTES)]

            def call(i: int, pool: Any, x: Any = x_NE, routes: Any = routes) -> object:
                weights, ids = routes[i // len(pool)]
                gated, down = pool[i % len(pool)]
                return ops.experts(x, weights, ids, gated, down, "silu")

            times: dict[str, list[float]] = {"one by one": [], "grouped": []}
            for _ in range(rounds):
                for name, pool in (("one by one", layers), ("grouped", bundles)):
                    own = partial(call, pool=pool)
                    times[name].append(timed(own, 0.2, len(pool) * ROUTES) * 1e6)
            shape = {"experts": count, "top_k": top_k, "hidden": hidden, "width": width}
            spreads = {name: _spread(values) for name, values in times.items()}
            found.append({**shape, "form": form, "rows": rows, **spreads})
    return found


def _mixtures(
    ops: NativeOps, count: int, hidden: int, width: int, bits: int
) -> list[tuple[list[Weight], list[Weight]]]:
    """Return the gated and the down matrices of layers that no cache holds together."""

    def packed(outputs: int, inputs: int, gated: str | None) -> list[Weight]:
        plain = (torch.randn(outputs, inputs).bfloat16() for _ in range(count))
        group = 32 if bits == 4 else 0
        return [ops.pack(round_to_nearest(w, bits, group) if bits else w, None, gated) for w in plain]

    layers: list[tuple[list[Weight], list[Weight]]] = []
    while sum(weight.nbytes for layer in layers for weights in layer for weight in weights) < BEYOND_CACHES:
        layers.append((packed(2 * width, hidden, "silu"), packed(hidden, width, None)))
    return layers


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
    """Print a table of each part that there is."""
    tables = {"products": _products, "heads": _heads, "experts": _experts, "generation": _generation}
    for name, table in tables.items():
        if name in result:
            table(result[name])


def _products(found: list[dict[str, Any]]) -> None:
    print(f"products [{OUTPUTS} x {INPUTS}], us per call (torch / kernels; GB/s of weights at one row)")
    for row in found:
        cells = "  ".join(f"{name} {_cell(row[name], 7)}" for name in ("torch", "bf16", "int8", "int4"))
        print(f"  rows {row['rows']:4d}  {cells}  bf16 {_gain(row, 'torch', 'bf16')}")


def _heads(found: list[dict[str, Any]]) -> None:
    print(
        "heads [16 + 2 x 8, 128]: norms, rotation, storing; us per layer (torch / kernels one by one / one)"
    )
    for row in found:
        cells = "  ".join(f"{name} {row[name]['median']:7.1f}" for name in ("torch", "steps", "one"))
        print(f"  {row['codec']:4s} rows {row['rows']:4d}  {cells}")


def _experts(found: list[dict[str, Any]]) -> None:
    print("experts, us per layer")
    for row in found:
        shape = f"{row['experts']:2d} top {row['top_k']} [{row['hidden']} x {row['width']}]"
        cells = "  ".join(f"{name} {_cell(row[name], 7)}" for name in ("one by one", "grouped"))
        gain = _gain(row, "one by one", "grouped")
        print(f"  {shape:20s} {row['form']} rows {row['rows']:4d}  {cells}  {gain}")


def _generation(found: dict[str, Any]) -> None:
    print("generation, output tokens/s")
    for name, own in found.items():
        cells = "  ".join(
            f"{kind} {_cell(own[kind], 8, 1)} {own[kind]['median'] / found['torch'][kind]['median']:.2f}x"
            for kind in ("one", "many")
        )
        print(f"  {name:7s} {cells}")


def _cell(spread: dict[str, float], width: int, digits: int = 0) -> str:
    return f"{spread['median']:{width}.{digits}f} [{spread['least']:.0f}..{spread['most']:.0f}]"


def _gain(row: dict[str, Any], before: str, after: str) -> str:
    return f"{row[before]['median'] / row[after]['median']:.2f}x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="", help="folder or hub name; the bundled model if not given")
    parser.add_argument(
        "--dummy", action="store_true", help="random weights: only the folder's config is read"
    )
    parser.add_argument("--only", choices=PARTS, help="one part, not all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", help="folder to write the result to, as JSON")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    start_team(args.threads)
    more = {"load_format": "dummy", "dtype": "bfloat16"} if args.dummy else {}
    parts: dict[str, Callable[[], object]] = {
        "products": lambda: products(args.rounds),
        "heads": lambda: heads(args.rounds),
        "experts": lambda: experts(args.rounds),
        "generation": lambda: generation(args.model, args.rounds, more),
    }
    result: dict[str, Any] = {name: parts[name]() for name in PARTS if args.only in (None, name)}
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
