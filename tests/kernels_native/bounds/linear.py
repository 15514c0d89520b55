"""Packing, the matrix product in every format, and reading rows back."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

import numpy as np

from penstock.kernels.native.library import WeightStruct
from tests.kernels_native.bounds.cases import case, width
from tests.kernels_native.bounds.memory import F32, Memory, address, check_output, fresh, numbers, strided

STEPS = (1, 2, 4, 8)
"""Inputs that a format takes at once, by ``ps_format``."""
U8, U4 = 2, 3


class Form(NamedTuple):
    """What a packed matrix is like."""

    kind: int
    gated: int
    outputs: int
    inputs: int
    group: int


@case("ps_packed_bytes", "ps_padded_n", "ps_source_rows", "ps_pack", "ps_linear")
def linear(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Any format, with and without gate, bias, offsets, residual and activation; rows apart."""
    kind, wanted, rows, act = (int(rng.integers(top)) for top in (2, 2, 20, 4))
    weight = make_weight(lib, rng, memory, draw_form(rng))
    inputs, outputs = weight.k, weight.n // 2 if weight.gated else weight.n
    ldx, ldo, ldr = inputs + int(rng.integers(0, 5)), outputs + int(rng.integers(0, 5)), 0
    x = memory.place(strided(numbers(rng, kind, rows, inputs), kind, ldx))
    residual = None
    if rng.random() < 0.5:
        ldr = outputs + int(rng.integers(0, 5))
        residual = memory.place(strided(numbers(rng, wanted, rows, outputs), wanted, ldr))
    out = memory.place(fresh(wanted, rows, outputs, ldo), writes=True)
    target = (address(out), wanted, ldo, address(residual), ldr, act)
    assert lib.ps_linear(ctypes.byref(weight), address(x), kind, rows, ldx, *target) == 0
    check_output(out, wanted, rows, outputs, ldo)


@case("ps_embed")
def embed(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory) -> None:
    """Rows of a plain matrix, apart; of another matrix, or with an id beyond it, nothing is written."""
    weight, count = make_weight(lib, rng, memory, draw_form(rng)), int(rng.integers(0, 40))
    plain = weight.format not in (U8, U4) and not weight.gated
    ids = rng.integers(0, weight.n, count)
    beyond = count > 0 and rng.random() < 0.2
    if beyond:
        ids[rng.integers(count)] = rng.choice([-1, weight.n])
    kind, ldo = weight.format if plain else F32, weight.k + int(rng.integers(0, 5))
    before = fresh(kind, count, weight.k, ldo)
    out = memory.place(before, writes=True)
    failed = lib.ps_embed(ctypes.byref(weight), address(memory.place(ids)), count, address(out), ldo)
    assert failed == (0 if plain and not beyond else -2 if plain else -1)
    if failed:
        assert (out == before).all()
    else:
        check_output(out, kind, count, weight.k, ldo)


def draw_form(rng: np.random.Generator, gated: int | None = None, inputs: int = 0, outputs: int = 0) -> Form:
    """Draw what is not given; of a gated matrix, outputs are those of the product."""
    kind, gated = int(rng.integers(4)), int(rng.integers(2)) if gated is None else gated
    inputs, outputs = inputs or width(rng, 300), (outputs or width(rng, 200)) * (2 if gated else 1)
    step = STEPS[kind]
    group = int(rng.choice([step * int(rng.integers(1, 9)), 32, -(-inputs // step) * step]))
    return Form(kind, gated, outputs, inputs, group)


def make_weight(lib: ctypes.CDLL, rng: np.random.Generator, memory: Memory, form: Form) -> WeightStruct:
    """Return a packed matrix of random numbers, each of its parts guarded."""
    kind, gated, outputs, inputs, group = form
    weight = WeightStruct(format=kind, gated=gated, n=outputs, k=inputs)
    if kind in (U8, U4):
        source = rng.integers(0, 256 if kind == U8 else 16, (outputs, inputs)).astype(np.uint8)
    else:
        source = numbers(rng, kind, outputs, inputs)
    codes = memory.place(np.zeros(lib.ps_packed_bytes(kind, gated, outputs, inputs), np.uint8), writes=True)
    lib.ps_pack(kind, gated, outputs, inputs, address(memory.place(source)), address(codes))
    weight.codes = address(memory.place(codes))  # from now on read only
    padded = lib.ps_padded_n(gated, outputs)
    rows = memory.place(np.full(padded, -2), writes=True)
    lib.ps_source_rows(gated, outputs, address(rows))
    assert sorted(rows[rows >= 0]) == list(range(outputs)) and rows.min() >= -1
    if kind in (U8, U4):
        weight.group = group
        weight.zero = int(rng.integers(0, 16))
        scales = (rng.random((-(-inputs // weight.group), padded)) / 100).astype(np.float16).view(np.uint16)
        weight.scales = address(memory.place(scales))
        if rng.random() < 0.5:
            weight.offsets = address(memory.place(scales))
    if rng.random() < 0.5:
        weight.bias = address(memory.place(numbers(rng, F32, padded)))
    return weight
