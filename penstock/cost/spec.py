"""Cost models from one line of text, for flags, files and experiments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from penstock.core.errors import ConfigError
from penstock.cost.fitted import load_fit
from penstock.cost.hardware import Hardware, hardware
from penstock.cost.model import CostModel
from penstock.cost.models import model_shape
from penstock.cost.profile import ProfileCost, read_meta
from penstock.cost.roofline import Roofline, kv_blocks
from penstock.cost.shapes import ModelShape, from_config
from penstock.cost.table import DISTSERVE_KV_TOKENS, built_in

HELP = (
    "MODEL@CARD[xTP][pPP] (a published table where there is one, else the roofline), "
    "roofline:MODEL@CARD[xTP][pPP], table:FOLDER[@CARD[xTP]] (layer timings), or fit:FILE.json"
)
# The x of an RTX card counts no cards.
_CARDS = re.compile(r"^(?P<card>.+?)(?:(?<!rt)x(?P<tp>\d+))?(?:p(?P<pp>\d+))?$")
_NUMBERS = {
    "flops": ("flops", 1e12),
    "bandwidth": ("bandwidth", 1e9),
    "memory": ("memory", 1e9),
    "link": ("link", 1e9),
    "latency": ("link_latency", 1e-6),
    "overhead": ("overhead", 1e-6),
}
"""Options that replace a number of the card's row: field and unit (TFLOPS, GB/s, GB, microseconds)."""
_OPTIONS = (*_NUMBERS, "layers", "model")


class Target(NamedTuple):
    """What a spec names: a model, a card and the degrees of parallelism."""

    model: str
    card: Hardware
    tp: int
    pp: int

    def shape(self) -> ModelShape:
        """Return the sizes of the model: a built-in name, or a folder or file with a ``config.json``.

        Raises:
            ConfigError: neither.
        """
        return find_model(self.model)


def find_model(name: str) -> ModelShape:
    """Return a model's sizes by built-in name or from its ``config.json``.

    Raises:
        ConfigError: no such model, or its config cannot be read.
    """
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    if path.suffix != ".json":
        return model_shape(name)
    try:
        return from_config(json.loads(path.read_text(encoding="utf-8")), path.parent.name)
    except (OSError, ValueError) as err:
        raise ConfigError("model", f"{path} cannot be read: {err}") from err


def parse_target(text: str) -> Target:
    """Read ``MODEL@CARD[xTP][pPP]``; numbers of the card's row may follow, as in ``,link=12,memory=48``.

    Raises:
        ConfigError: another form, an unknown card or option.
    """
    model, at, rest = text.rpartition("@")
    if not at or not model:
        raise ConfigError("cost", f"{text!r} names no card; expected MODEL@CARD[xTP][pPP]")
    card, tp, pp, _ = _cards(rest)
    return Target(model, card, tp, pp)


def _cards(text: str) -> tuple[Hardware, int, int, Mapping[str, str]]:
    name, *settings = text.split(",")
    match = _CARDS.match(name.strip())
    if match is None:
        raise ConfigError("cost", f"{text!r} names no card")
    options = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or key.strip() not in _OPTIONS:
            raise ConfigError("cost", f"{setting!r} is not one of {', '.join(f'{o}=...' for o in _OPTIONS)}")
        options[key.strip()] = value.strip()
    row = hardware(match["card"])
    changes = {_NUMBERS[o][0]: _number(options, o) * _NUMBERS[o][1] for o in options if o in _NUMBERS}
    # What is given is what was measured, not what a data sheet promises.
    shares = {"flops": "compute_efficiency", "bandwidth": "bandwidth_efficiency", "link": "link_efficiency"}
    changes |= {shares[o]: 1.0 for o in options if o in shares}
    row = msgspec.structs.replace(row, **changes)
    return row, int(match["tp"] or 1), int(match["pp"] or 1), options


def _number(options: Mapping[str, str], name: str) -> float:
    try:
        value = float(options[name])
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ConfigError("cost", f"{name} must be a positive number, got {options[name]!r}")
    return value


def load_cost(spec: str) -> CostModel:
    """Build the cost model that a line of text describes; see `HELP`.

    Raises:
        ConfigError: it cannot be read, or names what there is not.
    """
    kind, colon, rest = spec.strip().partition(":")
    if colon and kind == "roofline":
        target = parse_target(rest)
        return Roofline(target.shape(), target.card, target.tp, target.pp)
    if colon and kind == "table":
        return _profile(rest)
    if colon and kind == "fit":
        return load_fit(Path(rest))
    if "@" not in spec:
        raise ConfigError("cost", f"{spec!r} is not a cost model; expected {HELP}")
    target = parse_target(spec)
    published = built_in(target.model.lower(), target.card.name, target.tp, target.pp)
    return published or Roofline(target.shape(), target.card, target.tp, target.pp)


def _profile(text: str) -> ProfileCost:
    """Load layer timings; what the text leaves open is read from the profile's ``meta.yaml``."""
    name, at, cards = text.rpartition("@")
    folder = Path(name if at else text)
    if not folder.is_dir():
        raise ConfigError("cost", f"{folder} is not a folder with layer timings")
    meta = read_meta(folder)
    card, tp, options = None, 1, {}
    if at:
        card, tp, pp, found = _cards(cards)
        options = dict(found)
        if pp > 1:
            raise ConfigError("cost", "layer timings know no pipeline stages")
    model = options.get("model") or meta.get("model", "")
    if not model:
        raise ConfigError("cost", f"{folder} has no meta.yaml with its model; add @CARD,model=NAME")
    shape = find_model(model)
    if "layers" in options:
        shape = msgspec.structs.replace(shape, layers=int(_number(options, "layers")))
    return ProfileCost(folder, shape, card, tp)


def kv_capacity(spec: str, page_size: int = 16, utilisation: float = 0.9) -> int:
    """Return the KV blocks of the device that a line of text describes, as its publisher counted or by size.

    Args:
        spec: as for `load_cost`, of a kind that names a model and a card.
        page_size: tokens per block.
        utilisation: share of the memory that may be used.

    Raises:
        ConfigError: it names no model and card, or the model does not fit.
    """
    kind, colon, rest = spec.strip().partition(":")
    if colon and kind in ("table", "fit"):
        raise ConfigError(
            "blocks", f"{spec!r} does not say how much memory there is: give the number of blocks"
        )
    target = parse_target(rest if colon and kind == "roofline" else spec)
    counted = DISTSERVE_KV_TOKENS.get((target.model.lower(), target.tp))
    if counted and target.pp == 1 and target.card.name == "a100-80g" and kind != "roofline":
        return counted // page_size
    model = "llama-3.1-70b" if target.model.lower() == "text2sql" else target.model
    return kv_blocks(target.card, find_model(model), target.tp * target.pp, page_size, utilisation)
