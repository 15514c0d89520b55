"""Where the compiled kernels lie and which instruction set they may use; if neither, why, and what to do.

Environment: ``PENSTOCK_KERNELS`` is the path of another library (one with sanitizers, for example),
``PENSTOCK_ISA`` the name of a weaker instruction set, or ``none`` for no kernels at all.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

from penstock.core.errors import ConfigError

ISAS = ("none", "avx2", "avx512", "avx512_bf16")
"""Instruction sets by the library's numbers, weakest first."""

RECORD = "_kernels.missing"
"""Beside where the library would be, the installation leaves a line that says why it could not build one."""

_REMEDY = "install a C++17 compiler (g++ or clang++; on Debian: apt install g++), then install penstock again"
_BEYOND = {
    "avx2": "has vectors twice as wide and multiplies bfloat16 and int8 in one instruction each",
    "avx512": "multiplies bfloat16 and int8 in one instruction each",
}
"""What the strongest set has beyond a weaker one."""


class Missing(Exception):
    """There are no kernels here; the text says why and what to do."""


def find_library(folder: Path = Path(__file__).parent) -> Path:
    """Return the path of the library.

    Args:
        folder: where the installation puts it.

    Raises:
        Missing: it was not built.
        ConfigError: PENSTOCK_KERNELS names no file.
    """
    given = os.environ.get("PENSTOCK_KERNELS", "")
    if given:
        if not Path(given).is_file():
            raise ConfigError(
                "PENSTOCK_KERNELS", f"expected the path of a library, and there is none at {given!r}"
            )
        return Path(given)
    if found := sorted(folder.glob("_kernels*.so")):
        return found[-1]
    if platform.machine() not in ("x86_64", "AMD64"):
        raise Missing(f"the CPU kernels are written for x86-64, and this machine is {platform.machine()}")
    record = folder / RECORD
    why = record.read_text(encoding="utf-8").strip() if record.is_file() else "the package was not installed"
    raise Missing(f"the CPU kernels were not built ({why}); {_REMEDY}")


def choose_isa(best: int) -> int:
    """Return the number of the instruction set to use.

    Args:
        best: number of the best that this processor has.

    Raises:
        Missing: it has none that the kernels know, or none is wanted.
        ConfigError: PENSTOCK_ISA names none, or one that this processor has not.
    """
    wanted = os.environ.get("PENSTOCK_ISA", "")
    if wanted and wanted not in ISAS:
        raise ConfigError("PENSTOCK_ISA", f"expected one of {', '.join(ISAS)}, got {wanted!r}")
    if wanted == ISAS[0]:
        raise Missing("PENSTOCK_ISA=none keeps the CPU kernels out; unset it to use them")
    if best == 0:
        raise Missing("the CPU kernels need AVX2 and FMA, which this processor has not")
    if wanted and ISAS.index(wanted) > best:
        raise ConfigError("PENSTOCK_ISA", f"asks for {wanted}, and this processor has at most {ISAS[best]}")
    return ISAS.index(wanted) if wanted else best


def drawback(used: int, best: int) -> str:
    """Return what is lost with an instruction set, and why it is used; nothing for the strongest of all.

    Args:
        used: its number.
        best: number of the best that this processor has.
    """
    name = ISAS[used]
    if name not in _BEYOND:
        return ""
    why = (
        f"PENSTOCK_ISA says so, and this processor has {ISAS[best]}"
        if used < best
        else "this processor has no more"
    )
    return f"{why}; prompts and batches take longer than with {ISAS[-1]}, which {_BEYOND[name]}"
