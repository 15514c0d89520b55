"""Which attention backends exist, and which one a model gets."""

from __future__ import annotations

from importlib import import_module

from penstock.core.errors import ConfigError
from penstock.kernels.attention.base import AttentionBackend, AttnNeed

BACKENDS: dict[str, str] = {
    "torch": "penstock.kernels.attention.torch_backend:TorchAttention",
    "invariant": "penstock.kernels.attention.invariant:InvariantAttention",
    "native": "penstock.kernels.native.attention:NativeAttention",
    "triton": "penstock.kernels.triton.attention:TritonAttention",
    "triton_invariant": "penstock.kernels.triton.attention:TritonInvariantAttention",
}
"""Name -> ``module:class``; a module is imported when its name is asked for, and it may fail to import."""

_PREFERENCE: dict[str, tuple[str, ...]] = {"cuda": ("triton", "torch"), "cpu": ("native", "torch")}
_INVARIANT = {"torch": "invariant", "triton": "triton_invariant"}
"""The batch-invariant sibling of a backend; it is meant where that mode is on."""


def backend_class(name: str) -> type[AttentionBackend]:
    """Return the class registered under ``name``.

    Raises:
        ConfigError: no such name, or its module cannot be imported here.
    """
    if name not in BACKENDS:
        raise ConfigError("model.attention", f"expected one of {', '.join(BACKENDS)}, got {name!r}")
    module, cls = BACKENDS[name].split(":")
    try:
        found: type[AttentionBackend] = getattr(import_module(module), cls)
    except ImportError as error:
        raise ConfigError("model.attention", f"backend {name!r} cannot be imported here: {error}") from error
    return found


def choose_backend(name: str, need: AttnNeed) -> AttentionBackend:
    """Return the backend of that name, or with ``auto`` the first preferred one that does not refuse.

    In batch-invariant mode a name stands for its batch-invariant sibling.

    Raises:
        ConfigError: the named backend, or every candidate, refused; the reasons are in the message.
    """
    names = _PREFERENCE.get(need.device, ("torch",)) if name == "auto" else (name,)
    if need.batch_invariant:
        names = tuple(_INVARIANT.get(candidate, candidate) for candidate in names)
    reasons = []
    for candidate in names:
        try:
            cls = backend_class(candidate)
        except ConfigError:
            if name != "auto":
                raise
            reasons.append(f"{candidate}: not importable here")
            continue
        reason = cls.refusal(need)
        if reason is None:
            return cls()
        reasons.append(f"{candidate}: {reason}")
    raise ConfigError("model.attention", "; ".join(reasons))
