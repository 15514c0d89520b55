"""Texts to vectors by transformers: the reference for what the engine's embeddings must be."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from penstock.zoo import bundled_model_path
from penstock.zoo.export import build_model
from penstock.zoo.recipes import Shape

NAME = "embedder"
"""Name of the recipe and of the shipped folder."""
_TOGETHER = 48
"""Texts of like length that are padded together."""


class Embedder:
    """Texts to unit vectors through transformers: the reference for the engine's embeddings.

    Args:
        model: a Llama module.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(cls, folder: Path | None = None) -> "Embedder":
        """Load a folder in Hugging Face layout (the shipped embedder by default) in fp32."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = folder or bundled_model_path(NAME)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return cls(model.train(False), AutoTokenizer.from_pretrained(folder))

    def vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """Return unit vectors [n, E]: the mean of the last hidden states, begin token included."""
        longest = int(self.model.config.max_position_embeddings)
        rows = [self.tokenizer.encode(text)[:longest] for text in texts]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        parts = [order[at : at + _TOGETHER] for at in range(0, len(order), _TOGETHER)]
        sorted_NE = torch.cat([self._mean([rows[i] for i in part]) for part in parts])
        return F.normalize(sorted_NE, dim=1)[torch.tensor(order).argsort()]

    def _mean(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        size_N = torch.tensor([len(row) for row in rows])
        ids_NT = torch.zeros(len(rows), int(size_N.max()), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids_NT[i, : len(row)] = torch.tensor(row)
        # Padding stands behind the text, where causal attention does not look.
        hidden_NTE = self.model.model(input_ids=ids_NT, use_cache=False).last_hidden_state
        real_NT = torch.arange(ids_NT.shape[1]) < size_N[:, None]
        mean_NE: torch.Tensor = (hidden_NTE * real_NT[..., None]).sum(1) / size_N[:, None]
        return mean_NE

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return `vectors` as an array."""
        with torch.inference_mode():
            found_NE: np.ndarray = self.vectors(texts).numpy()
        return found_NE


def untrained(shape: Shape, tokenizer: Any, seed: int = 0, spread: float = 1.0) -> Embedder:
    """Return a model of random weights.

    Args:
        shape: of the model.
        tokenizer: its tokenizer.
        seed: of the weights.
        spread: how many times larger than usual the token embeddings are. With some ten they outweigh what
            the layers add, and the mean of the hidden states is a bag of words before any training.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build_model(shape)
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(spread)
    return Embedder(model, tokenizer)
