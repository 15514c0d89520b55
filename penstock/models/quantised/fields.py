"""Reading ``quantization_config``: every refusal names the field, what was expected and what was found."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from penstock.core.errors import ConfigError
from penstock.kernels.codes import STEP

ROOT = "config.quantization_config"


def refuse(field: str, text: str) -> ConfigError:
    """Return the error of a field that cannot be followed."""
    return ConfigError(f"{ROOT}.{field}", text)


def one_of(
    config: Mapping[str, Any], field: str, allowed: Collection[Any], default: Any, at: str = ""
) -> Any:
    """Return a field's value, or the default where it is absent or null.

    Args:
        config: the object that holds the field.
        field: its name.
        allowed: values that can be followed.
        default: what absence means.
        at: where the object lies, with a dot behind.

    Raises:
        ConfigError: any other value.
    """
    value = config.get(field)
    value = default if value is None else value
    if value not in allowed:
        raise refuse(f"{at}{field}", f"expected {' or '.join(map(str, allowed))}, got {value!r}")
    return value


def group_size(config: Mapping[str, Any], bits: int, field: str = "group_size", at: str = "") -> int:
    """Return the inputs that share a scale; 0 stands for all of them.

    Raises:
        ConfigError: not -1 and no multiple of what kernels take at once.
    """
    value = config.get(field)
    value = -1 if value is None else value
    if value == -1:
        return 0
    if not isinstance(value, int) or value <= 0 or value % STEP[bits]:
        raise refuse(f"{at}{field}", f"expected -1 or a positive multiple of {STEP[bits]}, got {value!r}")
    return value
