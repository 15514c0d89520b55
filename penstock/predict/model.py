"""The ranker's network: small enough to score thousands of prompts a second on one core."""

from __future__ import annotations

from typing import Literal

import msgspec
import torch
from torch import nn


class RankerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of a ranker; kept beside its weights."""

    vocab_size: int
    kind: Literal["bag", "encoder"] = "bag"
    """bag: sums of token and token-pair embeddings; encoder: attention over the tokens."""
    width: int = 48
    hidden: int = 96
    layers: int = 2
    """Of the encoder."""
    heads: int = 4
    pairs: int = 8192
    """Buckets of the bag's neighbouring token pairs."""
    longest: int = 512
    """Tokens of a prompt that are read: its last ones, which ask."""
    scale: float = 1.0
    offset: float = 0.0
    """Expected log length is ``offset + scale * score``; makes scores of tokens, changes no order."""


class Ranker(nn.Module):
    """Scores padded prompts: token ids [n, t] and lengths [n] to scores [n], larger for longer answers."""

    def __init__(self, config: RankerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.tokens = nn.Embedding(config.vocab_size, width)
        if config.kind == "bag":
            self.pairs = nn.Embedding(config.pairs, width)
            features = 2 * width + 1
        else:
            self.places = nn.Embedding(config.longest, width)
            layer = nn.TransformerEncoderLayer(
                width, config.heads, config.hidden, dropout=0.1, batch_first=True, norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
            features = width + 1
        self.head = nn.Sequential(
            nn.Linear(features, config.hidden), nn.ReLU(), nn.Linear(config.hidden, 1)
        )  # fmt: skip

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Return scores [n].

        Args:
            ids: int64 [n, t], padded at the end with anything.
            lengths: int64 [n], at least 1.
        """
        real = torch.arange(ids.shape[1]) < lengths[:, None]
        size = torch.log(lengths.float())[:, None]
        if self.config.kind == "bag":
            return self._bag(ids, real, size)
        places = torch.arange(ids.shape[1])
        states = self.encoder(self.tokens(ids) + self.places(places), src_key_padding_mask=~real)
        pooled = (states * real[..., None]).sum(1) / lengths[:, None]
        scores: torch.Tensor = self.head(torch.cat([pooled, size], dim=1)).squeeze(1)
        return scores

    def _bag(self, ids: torch.Tensor, real: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
        """Sum token and pair embeddings; the square root of the length keeps sums of one magnitude."""
        pair = (ids[:, :-1] * 31337 + ids[:, 1:] * 7919) % self.config.pairs
        root = real.sum(1, keepdim=True).float().sqrt()
        tokens = (self.tokens(ids) * real[..., None]).sum(1) / root
        pairs = (self.pairs(pair) * real[:, 1:, None]).sum(1) / root
        scores: torch.Tensor = self.head(torch.cat([tokens, pairs, size], dim=1)).squeeze(1)
        return scores


def pad(prompts: list[tuple[int, ...]], longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the last ``longest`` tokens of each prompt as ids [n, t] and lengths [n]."""
    cut = [torch.tensor(prompt[-longest:], dtype=torch.int64) for prompt in prompts]
    lengths = torch.tensor([len(one) for one in cut], dtype=torch.int64)
    return nn.utils.rnn.pad_sequence(cut, batch_first=True), lengths
