"""Step time from layer timings in the form of LLMServingSim's profiles (casys-kaist/LLMServingSim on GitHub).

A profile is a folder of CSV files in microseconds, for one card, model and tensor-parallel degree:
``dense.csv`` (layer, tokens), ``per_sequence.csv`` (layer, sequences), ``attention.csv`` (prefill chunk, its
context, decodes, context of each), for MoE ``moe.csv`` (tokens, activated_experts), and ``meta.yaml`` beside
them or one level up, with one folder ``tp<N>`` per degree. Whatever layer names a file has are read: those
that run once per step are named in `ONCE`, twice per block in `TWICE`, every other one runs once per block.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from penstock.core.errors import ConfigError
from penstock.core.plan import PlanShape
from penstock.cost.grid import AttentionGrid, Plane, equivalent_chunk, line
from penstock.cost.hardware import Hardware
from penstock.cost.model import flatten
from penstock.cost.roofline import distinct_experts
from penstock.cost.shapes import ModelShape
from penstock.cost.skew import Skew

ONCE = frozenset({"embedding", "final_layernorm"})
TWICE = frozenset({"layernorm"})
MICRO = 1e-6
LIMIT = 8192
"""Rows up to which sums over layers are tabled."""


def read_rows(path: Path, *columns: str) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file.

    Raises:
        ConfigError: it cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle)
            lacking = [c for c in columns if c not in (reader.fieldnames or ())]
            if lacking:
                raise ConfigError("cost", f"{path.name} lacks the column {lacking[0]!r} of a layer profile")
            return [tuple(row[c] for c in columns) for row in reader]
    except OSError as err:
        raise ConfigError("cost", f"{path} cannot be read: {err.strerror}") from err


def read_meta(folder: Path) -> dict[str, str]:
    """Read the plain entries of a profile's ``meta.yaml`` as text, by ``name`` or ``section.name``.

    Deeper sections and lists are passed over; empty without such a file.
    """
    entries: dict[str, str] = {}
    section = ""
    for path in (folder / "meta.yaml", folder.parent / "meta.yaml"):
        if not path.is_file():
            continue
        for text in path.read_text(encoding="utf-8").splitlines():
            name, colon, value = text.partition(":")
            indent = len(name) - len(name.lstrip())
            if not colon or indent > 2 or name.lstrip().startswith(("-", "#")):
                continue
            value = value.strip().strip("'\"")
            if indent == 0:
                section = name
            entries[name if indent == 0 else f"{section}.{name.strip()}"] = value
        break
    return entries


class ProfileCost:
    """Cost model that adds up measured layers.

    Args:
        folder: the profile, or the folder above its ``tp<N>`` folders.
        model: shape of the model; its number of layers, experts and hidden size are used.
        hardware: the card's links, for all-reduces when ``tp`` is above one.
        tp: tensor-parallel degree.
        graph_sizes: batch sizes for which the engine replays captured graphs; a step of fewer rows runs dense
            layers on the next size up. Empty: exact sizes.
        skew: whether ``skew.csv`` corrects for unequal decode contexts; None asks the profile's own
            ``meta.yaml``, whose ``skew_fit: enabled`` says whether these measurements are fit for use.

    Raises:
        ConfigError: a file is missing or malformed.
    """

    def __init__(
        self,
        folder: Path,
        model: ModelShape,
        hardware: Hardware | None = None,
        tp: int = 1,
        graph_sizes: tuple[int, ...] = (),
        skew: bool | None = None,
    ) -> None:
        if tp > 1 and hardware is None:
            raise ConfigError("cost", f"{tp} cards need a hardware row for the links between them")
        self.folder, self.model, self.tp = folder, model, tp
        home = folder / f"tp{tp}" if (folder / f"tp{tp}").is_dir() else folder
        try:
            self._block, self._once = self._dense(home)
            self._sequences = _lines(home / "per_sequence.csv", "sequences", lambda _: 1)
            self._attention = _attention(home / "attention.csv")
            wanted = read_meta(folder).get("skew_fit.enabled") == "true" if skew is None else skew
            self._skew = _skew(home) if wanted else None
            self._experts = self._moe(folder) if model.experts else []
        except ValueError as err:
            raise ConfigError("cost", f"{home} is not a layer profile: {err}") from err
        if graph_sizes:
            self._pad(sorted(graph_sizes))
        if tp > 1 and hardware is not None:
            each = 4.0 * (tp - 1) / tp * model.hidden * model.weight_width
            each /= hardware.link * hardware.link_efficiency
            self._block = [s + 2 * hardware.link_latency + each * n for n, s in enumerate(self._block)]
        if self._experts:
            share = model.moe_layers / model.layers
            self._block = [s + share * e for s, e in zip(self._block, self._experts, strict=True)]
        self._block[0] = 0.0

    @staticmethod
    def _dense(home: Path) -> tuple[list[float], list[float]]:
        """Seconds by rows of one block's dense layers, and of those that run once per step."""
        block = {name: 0 for name in ONCE} | dict.fromkeys(TWICE, 2)
        path = home / "dense.csv"
        return (
            _lines(path, "tokens", lambda name: block.get(name, 1)),
            _lines(path, "tokens", lambda name: int(name in ONCE)),
        )

    def _moe(self, folder: Path) -> list[float]:
        """Seconds of a block's experts by rows, with as many distinct ones as rows touch on average."""
        # Experts are not split within: profiles time them once, for one card.
        homes = (folder, folder / "tp1", folder.parent / "tp1")
        home = next((h for h in homes if (h / "moe.csv").exists()), folder)
        known: dict[int, list[tuple[int, float]]] = {}
        for tokens, active, time in read_rows(home / "moe.csv", "tokens", "activated_experts", "time_us"):
            known.setdefault(int(tokens), []).append((int(active), float(time) * MICRO))
        m = self.model
        # Each measured row count has its own range of experts: first along experts, then along rows.
        points = []
        for rows, cells in known.items():
            plane = Plane({(0, active): seconds for active, seconds in cells})
            points.append((rows, plane.at(0, distinct_experts(rows, m.experts, m.top_k))))
        return line(points, LIMIT)

    def _pad(self, sizes: list[int]) -> None:
        for table in (self._block, self._once):
            size = iter(sizes)
            goal = next(size)
            for n in range(1, sizes[-1] + 1):
                if n > goal:
                    goal = next(size)
                table[n] = table[goal]

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        rows, decodes, prefill = shape.tokens, shape.decodes, shape.prefill_tokens
        layers = self.model.layers
        cohort, pairs = shape.cohort_tokens, float(shape.prefill_pairs)
        seconds = self._at(self._once, rows)
        if cohort:
            # Other layers run without the cohort; its attention is spread over all of them.
            part = min(shape.cohort_layers, layers)
            seconds += part * self._at(self._block, rows)
            seconds += (layers - part) * self._at(self._block, rows - cohort)
            shape = flatten(shape, layers)
            prefill, pairs = shape.prefill_tokens, float(shape.prefill_pairs)
        else:
            seconds += layers * self._at(self._block, rows)
        if shape.samples:
            seconds += self._at(self._sequences, shape.samples)
        if prefill:
            chunk, context = equivalent_chunk(prefill, pairs)
        else:
            chunk = context = 0.0
        kv = shape.kv_tokens / decodes if decodes else 0.0
        attention = self._attention.at(chunk, context, decodes, kv)
        if self._skew is not None:
            alpha = self._skew.alpha(chunk, decodes, kv, shape.kv_max)
            if alpha:
                longest = self._attention.at(chunk, context, decodes, shape.kv_max)
                attention += alpha * max(0.0, longest - attention)
        return seconds + layers * attention

    @staticmethod
    def _at(table: list[float], n: int) -> float:
        if n < len(table):
            return table[n]
        return table[-1] + (n - len(table) + 1) * (table[-1] - table[len(table) // 2]) / (len(table) // 2)

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        degree = f", {self.tp} cards" if self.tp > 1 else ""
        return f"layer timings of {self.model.name} from {self.folder.name}{degree}"


def _lines(path: Path, axis: str, times: Callable[[str], int]) -> list[float]:
    """Sum the layers of a one-axis file, each ``times(layer)`` times."""
    layers: dict[str, list[tuple[int, float]]] = {}
    for name, n, time in read_rows(path, "layer", axis, "time_us"):
        layers.setdefault(name, []).append((int(n), float(time) * MICRO * times(name)))
    total = [0.0] * (LIMIT + 1)
    for points in layers.values():
        total = [a + b for a, b in zip(total, line(points, LIMIT), strict=True)]
    if not layers:
        raise ValueError(f"{path.name} is empty")
    return total


def _attention(path: Path) -> AttentionGrid:
    columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    rows = {}
    for chunk, context, decodes, kv, time in read_rows(path, *columns):
        rows[int(chunk), int(context), int(decodes), int(kv)] = float(time) * MICRO
    return AttentionGrid(rows)


def _skew(home: Path) -> Skew:
    columns = ("pc", "n", "kv_mean", "kv_big", "t_mean_us", "t_max_us", "t_skew_us")
    rows = read_rows(home / "skew.csv", *columns)
    return Skew(tuple(map(float, row)) for row in rows)  # type: ignore[misc]  # seven columns make seven numbers
