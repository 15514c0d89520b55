"""Fits a ranker to recorded traffic by ListMLE."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import msgspec
import torch

from penstock.predict.loss import list_mle
from penstock.predict.model import Ranker, RankerConfig, pad
from penstock.predict.tau import kendall_tau
from penstock.predict.traffic import Sample


class Training(msgspec.Struct, frozen=True, kw_only=True):
    """How a ranker is trained."""

    epochs: int = 12
    batch: int = 32
    """Requests of one list; the loss ranks them among themselves."""
    rate: float = 4e-3
    decay: float = 0.01
    granularity: int = 1
    """Lengths are ranked in steps of so many tokens: less is chance (the paper takes 10 of up to 8192)."""
    held_out: float = 0.1
    """Share of the samples that is only measured on; the epoch that does best there is kept."""
    seed: int = 0


class Epoch(msgspec.Struct, frozen=True):
    """What an epoch came to."""

    number: int
    loss: float
    tau: float
    """On the held-out samples."""


def train(
    samples: Sequence[Sample],
    config: RankerConfig,
    training: Training | None = None,
    report: Callable[[Epoch], None] | None = None,
) -> tuple[Ranker, Epoch]:
    """Train a ranker and return it with its best epoch, whose weights it has.

    Deterministic for the same samples, settings and number of threads.

    Args:
        samples: recorded requests, at least four.
        config: sizes of the network.
        training: how.
        report: called after each epoch.

    Raises:
        ValueError: too few samples.
    """
    how = training or Training()
    generator = torch.Generator().manual_seed(how.seed)
    order = torch.randperm(len(samples), generator=generator).tolist()
    held = max(2, int(len(samples) * how.held_out))
    if len(samples) - held < 2:
        raise ValueError(f"four samples are the least to train on, got {len(samples)}")
    known = [samples[i] for i in order[held:]]
    unknown = [samples[i] for i in order[:held]]
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        model = Ranker(config)
        best, weights = Epoch(0, 0.0, -2.0), model.state_dict()
        optimiser = torch.optim.AdamW(model.parameters(), lr=how.rate, weight_decay=how.decay)
        steps = how.epochs * -(-len(known) // how.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, how.rate, total_steps=steps)
        for number in range(1, how.epochs + 1):
            loss = _epoch(model, known, how, generator, optimiser, schedule)
            epoch = Epoch(number, loss, evaluate(model, unknown))
            if epoch.tau > best.tau:
                best, weights = epoch, copy.deepcopy(model.state_dict())
            if report is not None:
                report(epoch)
    model.load_state_dict(weights)
    return _in_tokens(model, known), best


def _epoch(
    model: Ranker,
    samples: list[Sample],
    how: Training,
    generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    model.train()
    order = torch.randperm(len(samples), generator=generator).tolist()
    losses = []
    for at in range(0, len(order), how.batch):
        batch = [samples[i] for i in order[at : at + how.batch]]
        lengths = torch.tensor([s.output_tokens // how.granularity for s in batch])
        scores = model(*pad([s.prompt_ids for s in batch], model.config.longest))
        # The batch is in random order already, so equal lengths are as well.
        loss = list_mle(scores, lengths)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return sum(losses) / len(losses)


@torch.inference_mode()
def scores_of(model: Ranker, prompts: Sequence[tuple[int, ...]], batch: int = 256) -> list[float]:
    """Return raw scores, larger for longer; prompts of like length are padded together."""
    model.eval()
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [0.0] * len(prompts)
    for at in range(0, len(order), batch):
        places = order[at : at + batch]
        values = model(*pad([prompts[i] for i in places], model.config.longest)).tolist()
        for place, value in zip(places, values, strict=True):
            found[place] = value
    return found


def evaluate(model: Ranker, samples: Sequence[Sample]) -> float:
    """Return Kendall's tau-b between scores and true lengths."""
    scores = scores_of(model, [s.prompt_ids for s in samples])
    return kendall_tau(scores, [s.output_tokens for s in samples])


def _in_tokens(model: Ranker, samples: Sequence[Sample]) -> Ranker:
    """Fit a line from scores to log lengths, so that scores can be read as tokens."""
    x = torch.tensor(scores_of(model, [s.prompt_ids for s in samples]), dtype=torch.float64)
    y = torch.tensor([s.output_tokens for s in samples], dtype=torch.float64).log()
    spread = x - x.mean()
    total = float((spread * spread).sum())
    slope = max(float((spread * y).sum()) / total, 1e-3) if total > 0 else 1e-3
    offset = float(y.mean() - slope * x.mean())
    model.config = msgspec.structs.replace(model.config, scale=slope, offset=offset)
    return model
