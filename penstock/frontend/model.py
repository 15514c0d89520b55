"""Which model the settings mean, seen from the front: its tokenizer and its limits."""

from __future__ import annotations

from pathlib import Path

from penstock.config.settings import Config
from penstock.core.errors import ConfigError
from penstock.engine.messages import EngineInfo
from penstock.frontend.specs import ModelLimits
from penstock.frontend.text.tokenizer import Tokenizer
from penstock.zoo import named_model, public_name


def model_name(config: Config) -> str:
    """Return the folder or hub name of the model; a shipped one by its name, the bundled one by none."""
    return named_model(config.model.model)


def served_name(config: Config) -> str:
    """Return the name under which clients know the model: as configured, else its own."""
    return config.model.served_model_name or public_name(config.model.model)


def load_tokenizer(config: Config) -> Tokenizer:
    """Load the tokenizer that the settings mean.

    Raises:
        ConfigError: it, the model folder or the template file cannot be read.
    """
    model = config.model
    try:
        folder = Path(model_name(config)).expanduser()
    except FileNotFoundError as error:
        raise ConfigError("model.model", str(error)) from error
    # The engine finds these too, but later than a missing tokenizer is found here: name the true fault.
    gguf = folder.suffix.lower() == ".gguf" and folder.is_file()
    if gguf and not model.tokenizer:
        raise ConfigError(
            "model.tokenizer",
            "a GGUF file's own tokenizer is not read: name a folder or hub name that has it",
        )
    if (
        not gguf
        and not folder.is_dir()
        and (model.model.startswith((".", "/", "~")) or model.model.count("/") != 1)
    ):
        raise ConfigError("model.model", f"no folder {model.model!r} (a hub name looks like owner/name)")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ConfigError("model.model", f"{folder} holds no config.json")
    name = model.tokenizer or str(folder if folder.is_dir() else model.model)
    return Tokenizer.load(name, revision=model.revision, chat_template=model.chat_template)


def limits_of(info: EngineInfo, tokenizer: Tokenizer) -> ModelLimits:
    """Return what requests are measured against.

    The model's own eos ids count; the tokenizer's only where the model names none.
    """
    own = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    return ModelLimits(
        vocab_size=info.vocab_size, max_model_len=info.max_model_len, eos_ids=info.eos_ids or own
    )
