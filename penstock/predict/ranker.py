"""A trained ranker: a folder with `config.json` and `model.safetensors`, and scores in batches."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from penstock.core.errors import ConfigError
from penstock.predict.model import Ranker, RankerConfig
from penstock.predict.train import scores_of
from penstock.zoo import bundled_model_path

log = logging.getLogger(__name__)
BUNDLED = "bundled"
"""What stands for the shipped ranker's folder in settings and commands."""
SHIPPED = "ranker"
"""Name of that folder, and of its recipe."""
_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


def ranker_folder(named: str) -> Path:
    """Return the folder that a setting means; ``bundled`` is the one for the bundled chat model.

    Raises:
        ConfigError: no ranker is shipped.
    """
    if named != BUNDLED:
        return Path(named).expanduser()
    try:
        return bundled_model_path(SHIPPED)
    except FileNotFoundError as error:
        raise ConfigError("model.ranker", str(error)) from error


class LengthRanker:
    """Says how long answers will get. Not thread-safe.

    Args:
        model: trained.
    """

    def __init__(self, model: Ranker) -> None:
        self.model = model.eval()
        self.seconds = 0.0
        """Time spent scoring so far."""
        self.scored = 0
        """Prompts scored so far."""

    @property
    def vocab_size(self) -> int:
        """Token ids that it knows."""
        return self.model.config.vocab_size

    def score(self, prompts: Sequence[tuple[int, ...]]) -> list[float]:
        """Return the expected length of each answer in tokens; what counts is their order."""
        began = time.perf_counter()
        config = self.model.config
        raw = scores_of(self.model, prompts)
        found = [math.exp(min(max(config.offset + config.scale * one, -20.0), 20.0)) for one in raw]
        took = time.perf_counter() - began
        self.seconds += took
        self.scored += len(prompts)
        log.debug("scored %d prompts in %.1f ms", len(prompts), took * 1e3)
        return found

    def save(self, folder: Path) -> None:
        """Write the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        config = msgspec.json.format(msgspec.json.encode(self.model.config), indent=2)
        (folder / _CONFIG).write_bytes(config + b"\n")
        save_file(dict(self.model.state_dict()), str(folder / _WEIGHTS))
        (folder / _WEIGHTS).chmod(0o644)  # the library makes it the owner's alone

    @classmethod
    def load(cls, folder: Path, vocab_size: int = 0) -> LengthRanker:
        """Read a folder.

        Args:
            folder: that `save` wrote.
            vocab_size: of the model whose prompts it is to score; 0 does not check.

        Raises:
            ConfigError: it cannot be read, or the ranker knows fewer tokens than the model.
        """
        try:
            config = msgspec.json.decode((folder / _CONFIG).read_bytes(), type=RankerConfig)
            model = Ranker(config)
            model.load_state_dict(load_file(str(folder / _WEIGHTS)))
        except (OSError, msgspec.MsgspecError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError("model.ranker", f"{folder} holds no ranker: {reason}") from error
        if vocab_size > config.vocab_size:
            raise ConfigError(
                "model.ranker",
                f"{folder} was trained for {config.vocab_size} token ids, but the model has {vocab_size}",
            )
        return cls(model)
