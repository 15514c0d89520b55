"""Compile every kernel launch of a few steps to machine code, on a machine without a GPU.

Run as ``python -m tests.kernels_triton.aot``: it launches the backend on CPU tensors, but each launch becomes
an ahead-of-time compilation with its very arguments, types and options. Prints a JSON line each.
"""

import inspect
import json
import re
import subprocess
import sys
import tempfile

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from penstock.kernels.triton.attention import TritonAttention
from penstock.kernels.triton.launch import write_kv
from tests.kernels_triton.cases import make_case

TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int8: "*i8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}
OPTIONS = {"num_warps", "num_stages"}


def source(kernel, args, kwargs):
    """Return what the just-in-time launcher would compile for this call, specialisations included."""
    bound = inspect.signature(kernel.fn).bind(*args, **kwargs).arguments
    signature, constants, attrs = {}, {}, {}
    for index, param in enumerate(kernel.params):
        value = bound[param.name]
        if param.is_constexpr or (type(value) is int and value == 1 and not param.do_not_specialize):
            signature[param.name], constants[(index,)] = "constexpr", value
            continue
        tensor = isinstance(value, torch.Tensor)
        signature[param.name] = TYPES[value.dtype] if tensor else "fp32" if type(value) is float else "i32"
        aligned = value.data_ptr() % 16 == 0 if tensor else type(value) is int and value % 16 == 0
        if aligned and not param.do_not_specialize:
            attrs[(index,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, constants, attrs)


def resources(cubin):
    """Return (registers, bytes of stack) of a kernel; it calls nothing, so the stack holds spills."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", file.name]
        log = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(int(re.search(rf"{name}:(\d+)", log)[1]) for name in ("REG", "STACK"))


class Compiler:
    """Stands in for the launcher: compiles instead of running."""

    def __init__(self):
        self.label, self.arch = "", 90

    def __call__(self, kernel, *args, grid, warmup, **kwargs):
        options = {name: kwargs.pop(name) for name in OPTIONS & set(kwargs)}
        made = triton.compile(source(kernel, args, kwargs), GPUTarget("cuda", self.arch, 32), options)
        registers, spilled = resources(made.asm["cubin"])
        row = {
            "label": self.label,
            "arch": self.arch,
            "kernel": kernel.__name__,
            "cubin": len(made.asm["cubin"]),
            "shared": made.metadata.shared,
            "registers": registers,
            "spilled": spilled,
            "wgmma": made.asm["ptx"].count("wgmma.mma_async"),
            "mma": made.asm["ptx"].count("mma.sync"),
            "wide_copies": len(re.findall(r"cp\.async\.cg\.shared\.global .*0x10", made.asm["ptx"])),
        }
        print(json.dumps(row), flush=True)


def main():
    compiler = Compiler()
    JITFunction.run = lambda self, *args, **kwargs: compiler(self, *args, **kwargs)
    decode, prefill = ([1, 1], [90, 40]), ([70], [90])
    cases = [
        ("raw", (decode, prefill), {"head_dim": 128}),
        ("window-softcap-256", (prefill,), {"head_dim": 256, "window": 64, "softcap": 50.0}),
        ("odd-80", (decode,), {"head_dim": 80, "heads": 6}),
        ("int8", (decode, prefill), {"head_dim": 128, "codec": "int8"}),
        ("float32", (decode,), {"head_dim": 64, "dtype": torch.float32}),
    ]
    for name, steps, extra in cases:
        for step in steps:
            case = make_case(*step, **({"heads": 8, "dtype": torch.bfloat16} | extra))
            backend = TritonAttention(splits=4 if step is decode else 1)
            for compiler.arch in (90, 80) if name == "raw" and step is decode else (90,):
                compiler.label = f"{'decode' if step is decode else 'prefill'}/{name}"
                backend.attend(case.q_NHD, case.kv, case.layer, backend.plan(case.rows, case.page))
        compiler.label, compiler.arch = f"write/{name}", 90
        n, _, head_dim = case.q_NHD.shape
        kv_rows = torch.zeros(n, case.layer.kv_heads, head_dim, dtype=case.q_NHD.dtype)
        write_kv(case.kv.planes, case.rows.kv_slots_N, kv_rows, kv_rows)


if __name__ == "__main__":
    sys.exit(main())
