"""What an experiment is, and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

import msgspec

Kind = Literal["property", "simulated", "real"]
Run = Callable[[int, bool], dict[str, float]]
"""Called with (seed, quick); returns figures by name. A quick run takes seconds and may miss its bars."""


class Bar(msgspec.Struct, frozen=True):
    """What the median of a figure over all seeds must reach."""

    figure: str
    floor: float | None = None
    ceiling: float | None = None
    paper: str = ""
    """What the paper reports, in its own terms, and how it was verified."""


class Experiment(msgspec.Struct, frozen=True):
    """One row, or a part of one, of the acceptance table."""

    name: str
    """What a user types."""
    row: str
    """Row of the table, e.g. ``1``."""
    system: str
    kind: Kind
    title: str
    bars: tuple[Bar, ...]
    run: Run
    fixed: bool = False
    """Nothing in it depends on the seed: it is run once."""


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str,
    *,
    row: str,
    system: str,
    kind: Kind,
    title: str,
    bars: Sequence[Bar],
    fixed: bool = False,
) -> Callable[[Run], Run]:
    """Function decorator: add an experiment to the list.

    Raises:
        ValueError: the name is taken.
    """

    def add(run: Run) -> Run:
        if name in EXPERIMENTS:
            raise ValueError(f"experiment {name!r} exists already")
        EXPERIMENTS[name] = Experiment(name, row, system, kind, title, tuple(bars), run, fixed)
        return run

    return add


def load_all() -> dict[str, Experiment]:
    """Import every module of this package and return the experiments, by name."""
    import penstock.reproduce

    for module in iter_modules(penstock.reproduce.__path__):
        import_module(f"penstock.reproduce.{module.name}")
    return EXPERIMENTS
