"""The compiled kernels: found, loaded, typed. Where there are none, the reason is at hand.

The library is plain C (`penstock/kernels/csrc/api.h`), so ctypes loads it and any version of torch
and Python will do; the interpreter lock is released while a kernel runs.
"""

from __future__ import annotations

import atexit
import ctypes
from functools import cache

from penstock.kernels.native.found import ISAS, Missing, choose_isa, drawback, find_library

_INT32, _INT64, _PTR, _FLOAT = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_float


class WeightStruct(ctypes.Structure):
    """``ps_weight`` of api.h."""

    _fields_ = (
        ("format", _INT32),
        ("gated", _INT32),
        ("n", _INT64),
        ("k", _INT64),
        ("group", _INT64),
        ("zero", _INT32),
        ("reserved", _INT32),
        ("codes", _PTR),
        ("scales", _PTR),
        ("offsets", _PTR),
        ("bias", _PTR),
    )


_ATTENTION_POINTERS = ("q", "out", "lse", "k", "v", "k_scale", "v_scale", "table", "positions", "lengths")


class AttentionStruct(ctypes.Structure):
    """``ps_attention`` of api.h."""

    _fields_ = (
        *((name, _PTR) for name in _ATTENTION_POINTERS),
        *((name, _INT64) for name in ("ldq", "ld_table", "heads", "kv_heads", "dim", "page", "window")),
        ("scale", _FLOAT),
        ("softcap", _FLOAT),
        ("type", _INT32),
        ("kv_type", _INT32),
    )


_HEAD_POINTERS = (
    "qkv",
    "q_norm",
    "k_norm",
    "cos",
    "sin",
    "slots",
    "k_plane",
    "v_plane",
    "k_scale",
    "v_scale",
)


class HeadPrepStruct(ctypes.Structure):
    """``ps_head_prep`` of api.h."""

    _fields_ = (
        *((name, _PTR) for name in _HEAD_POINTERS),
        *((name, _INT64) for name in ("rows", "stored", "ld", "heads", "kv_heads", "dim", "half", "page")),
        ("eps", _FLOAT),
        ("offset", _FLOAT),
        ("type", _INT32),
    )


class AttendUnit(ctypes.Structure):
    """``ps_attend_unit`` of api.h."""

    _fields_ = tuple((name, _INT64) for name in ("sequence", "row", "rows", "from", "to", "part", "cost"))


_FUNCTIONS = {
    "ps_isa_best": (_INT32, ()),
    "ps_isa_current": (_INT32, ()),
    "ps_isa_force": (_INT32, (_INT32,)),
    "ps_team_start": (_INT32, (_INT32, _PTR, _INT32)),
    "ps_team_stop": (None, ()),
    "ps_packed_bytes": (_INT64, (_INT32, _INT32, _INT64, _INT64)),
    "ps_padded_n": (_INT64, (_INT32, _INT64)),
    "ps_source_rows": (None, (_INT32, _INT64, _PTR)),
    "ps_pack": (None, (_INT32, _INT32, _INT64, _INT64, _PTR, _PTR)),
    "ps_layout_version": (_INT32, ()),
    "ps_embed": (_INT32, (ctypes.POINTER(WeightStruct), _PTR, _INT64, _PTR, _INT64)),
    "ps_linear": (
        _INT32,
        (
            ctypes.POINTER(WeightStruct),
            _PTR,
            _INT32,
            _INT64,
            _INT64,
            _PTR,
            _INT32,
            _INT64,
            _PTR,
            _INT64,
            _INT32,
        ),
    ),
    "ps_experts": (
        _INT32,
        (_PTR, _PTR, _INT64, _PTR, _INT32, _INT64, _INT64, _PTR, _PTR, _INT64, _PTR, _INT32),
    ),
    "ps_rms_norm": (
        _INT32,
        (_PTR, _PTR, _PTR, _PTR, _FLOAT, _FLOAT, _INT32, _INT64, _INT64, _INT64, _PTR),
    ),
    "ps_gumbel_argmax": (_INT32, (_PTR, _INT64, _INT64, _PTR, _PTR, _PTR)),
    "ps_restrain": (_INT32, (_PTR, _INT64, _INT64, _PTR, _INT64, _PTR, _INT64)),
    "ps_rotate": (_INT32, (_PTR, _INT32, _INT64, _INT64, _INT64, _INT64, _PTR, _PTR, _INT64)),
    "ps_attend_plan": (_INT32, (*(_PTR,) * 3, *(_INT64,) * 5, _PTR, _INT64, _PTR)),
    "ps_attend": (_INT32, (_PTR, _PTR, _PTR)),
    "ps_heads": (_INT32, (_PTR,)),
    "ps_kv_write": (_INT32, (_PTR, _PTR, _INT64, _INT64, _INT32, _PTR, *(_INT64,) * 4, *(_PTR,) * 4)),
    "ps_gate": (_INT32, (_PTR, _PTR, _INT32, _INT32, _INT64, _INT64, _INT64, _INT64, _PTR)),
}


@cache
def library() -> ctypes.CDLL:
    """Return the loaded library, its functions typed.

    Raises:
        Missing: it was not built, cannot be loaded, or this processor has no instruction set that it knows.
        ConfigError: see `find_library` and `choose_isa`.
    """
    path = find_library()
    try:
        lib = ctypes.CDLL(str(path))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise Missing(f"the CPU kernels cannot be loaded ({error}); install penstock again") from error
    lib.ps_isa_force(choose_isa(lib.ps_isa_best()))
    atexit.register(lib.ps_team_stop)
    return lib


def why_missing() -> str | None:
    """Return why there are no kernels here, or None where they are."""
    try:
        library()
    except Missing as missing:
        return str(missing)
    return None


def isa() -> str:
    """Return the name of the instruction set in use."""
    return ISAS[library().ps_isa_current()]


def isa_drawback() -> str:
    """Return what is lost with the instruction set in use, and why it is used; nothing for the strongest."""
    return drawback(library().ps_isa_current(), library().ps_isa_best())


def start_team(threads: int, spin_us: int = 100) -> int:
    """Start the compute threads; the calling thread is one of them.

    Args:
        threads: how many compute.
        spin_us: microseconds that an idle thread looks for the next call before it sleeps.

    Returns:
        How many there are.
    """
    return int(library().ps_team_start(threads, None, spin_us))
