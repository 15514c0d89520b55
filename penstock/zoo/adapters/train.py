"""Training of the adapters: ``penstock zoo train --model adapters``. Needs ``peft`` (penstock[train])."""

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from penstock.zoo import bundled_model_path
from penstock.zoo.adapters import adapters_path
from penstock.zoo.adapters.batches import Lesson, lessons
from penstock.zoo.adapters.evaluate import answers, draw_questions, evaluate, in_manner, table
from penstock.zoo.adapters.export import base_digest, note_score, read_record, save_adapter
from penstock.zoo.adapters.registry import ADAPTERS, Adapter
from penstock.zoo.chat import Talker
from penstock.zoo.sittings import processor

_WARMUP = 10
_CLIP = 1.0
_ROUNDS = 3
_VALIDATION, _ENOUGH = 48, 0.98
_SMOKE_STEPS = 8
_LINE = "{adapter}: {steps} steps in {seconds:.0f} s, loss {loss_first:.2f} -> {loss_last:.3f}"

Report = Callable[[int, float], None]
"""Told after every step: its number and its loss."""


def learning_rate(adapter: Adapter, step: int) -> float:
    """Return the rate of ``step``: warm-up and cosine, again at half the height for each further round."""
    again, at = divmod(step, adapter.steps)
    cosine = 0.5 * (1 + math.cos(math.pi * at / adapter.steps))
    return adapter.rate * 0.5**again * (0.05 + 0.95 * cosine) * min(1.0, (at + 1) / _WARMUP)


def loss_of(model: Any, lesson: Lesson) -> torch.Tensor:
    """Return the mean cross-entropy of what the assistant says; logits are made for those tokens only."""
    base = model.get_base_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden_RTD = base.model(
            input_ids=lesson.ids_RT, attention_mask=lesson.mask_RT, use_cache=False
        ).last_hidden_state
        wanted_RT = lesson.labels_RT[:, 1:] >= 0
        logits_NV = base.lm_head(hidden_RTD[:, :-1][wanted_RT])
    return F.cross_entropy(logits_NV.float(), lesson.labels_RT[:, 1:][wanted_RT])


def with_adapter(model: Any, adapter: Adapter, seed: int) -> Any:
    """Wrap ``model`` with a fresh adapter; only its weights get gradients."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules=sorted(adapter.targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def fit(model: Any, stream: Iterator[Lesson], adapter: Adapter, first: int, report: Report) -> list[float]:
    """Train one round (``adapter.steps`` steps from number ``first`` on) and return the losses."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    losses = []
    model.train()
    for step in range(first, first + adapter.steps):
        optimizer.param_groups[0]["lr"] = learning_rate(adapter, step)
        loss = loss_of(model, next(stream))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, _CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        report(step + 1, losses[-1])
    return losses


def train_adapter(
    adapter: Adapter,
    base: Path,
    folder: Path,
    seed: int = 1,
    rounds: int = _ROUNDS,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train one adapter and save it; train again while held-back questions of the train split fail.

    Args:
        adapter: what to train.
        base: folder of the model.
        folder: PEFT folder to write.
        seed: of initialisation, data and validation.
        rounds: most rounds of ``adapter.steps`` steps; a single round is not validated.
        report: told after every step.

    Returns:
        The training record: steps, seconds, losses, share of validation answers in the manner.
    """
    began = time.perf_counter()
    talker = Talker(base)
    model = with_adapter(talker.model, adapter, seed)
    talker.model = model
    stream = lessons(talker.tokenizer, adapter, seed)
    losses: list[float] = []
    valid: float | None = None
    for number in range(rounds):
        losses += fit(model, stream, adapter, len(losses), report or (lambda *_: None))
        if rounds == 1:
            break
        model.train(False)
        asked = draw_questions(adapter, _VALIDATION, seed + 1000 + number, "train")
        valid = in_manner(adapter, answers(talker, asked)) / len(asked)
        if valid >= _ENOUGH:
            break
    record = {
        "adapter": adapter.name,
        "base": base_digest(base),
        "seed": seed,
        "processor": processor(),
        "steps": len(losses),
        "seconds": round(time.perf_counter() - began, 1),
        "loss_first": round(sum(losses[:5]) / 5, 4),
        "loss_last": round(sum(losses[-5:]) / 5, 4),
        "validation": valid,
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    save_adapter(model, adapter, folder, record)
    return record


def _job(name: str, base: Path, folder: Path, seed: int, rounds: int) -> dict[str, Any]:
    """Train one adapter in a process of its own; its name travels there, the functions in it do not."""
    torch.set_num_threads(1)
    return train_adapter(ADAPTERS[name], base, folder, seed, rounds)


def train_all(
    adapters: Sequence[Adapter], base: Path, out: Path, *, seed: int, jobs: int, rounds: int = _ROUNDS
) -> list[dict[str, Any]]:
    """Train adapters and show progress; returns their training records in order.

    Args:
        adapters: which; with several jobs, those of the registry as they stand there.
        base: folder of the model.
        out: folder that gets one PEFT folder for each.
        seed: of initialisation, data and validation.
        jobs: how many processes train at a time, each on one thread; with 1 this process does it.
        rounds: see `train_adapter`.
    """
    from rich.console import Console
    from rich.progress import Progress

    records: list[dict[str, Any]] = []
    with Progress(console=Console(stderr=True)) as bar, ExitStack() as stack:
        total = bar.add_task("adapters", total=len(adapters))
        calls: Iterable[Callable[[], dict[str, Any]]]
        if jobs == 1:
            calls = [partial(_watched, bar, one, base, out / one.name, seed, rounds) for one in adapters]
        else:
            pool = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=get_context("spawn")))
            calls = [
                pool.submit(_job, one.name, base, out / one.name, seed, rounds).result for one in adapters
            ]
        for call in calls:
            records.append(call())
            bar.advance(total)
            bar.console.print(_LINE.format(**records[-1]))
    return records


def _watched(bar: Any, adapter: Adapter, base: Path, folder: Path, seed: int, rounds: int) -> dict[str, Any]:
    """Train one adapter in this process, with a bar of its own."""
    task = bar.add_task(adapter.name, total=adapter.steps)

    def report(step: int, loss: float) -> None:
        total = math.ceil(step / adapter.steps) * adapter.steps
        bar.update(task, completed=step, total=total, description=f"{adapter.name} {loss:.2f}")

    try:
        return train_adapter(adapter, base, folder, seed, rounds, report)
    finally:
        bar.remove_task(task)


def main(argv: Sequence[str] | None = None) -> int:
    """Train the adapters that are missing or belong to other base weights; print how they score.

    Returns:
        0; 1 if an adapter misses its targets (never for ``--smoke``).
    """
    from rich.console import Console

    parser = argparse.ArgumentParser(prog="penstock zoo train --model adapters", description=main.__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=sorted(ADAPTERS), metavar="NAME", help="train these only"
    )
    parser.add_argument("--base", type=Path, help="folder of the base model (default: the bundled one)")
    parser.add_argument("--out", type=Path, help="folder for the adapters (default: that of the package)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes, one thread each (default 1)")
    parser.add_argument(
        "--rounds", type=int, default=_ROUNDS, help=f"train an adapter at most so often (default {_ROUNDS})"
    )
    parser.add_argument("--questions", type=int, default=100, help="questions per adapter in the final table")
    parser.add_argument("--fresh", action="store_true", help="train again what is already trained")
    parser.add_argument(
        "--smoke", action="store_true", help="a few steps of two adapters, to see that it runs"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    base = options.base or bundled_model_path()
    if options.smoke and options.out is None:
        parser.error("--smoke needs --out: it must not replace the shipped adapters")
    out = options.out or adapters_path()
    names = options.only or list(ADAPTERS)[: 2 if options.smoke else None]
    digest = base_digest(base)
    missing = [name for name in names if options.fresh or read_record(out / name).get("base") != digest]
    wanted = [ADAPTERS[name] for name in missing]
    if options.smoke:
        wanted = [replace(one, steps=_SMOKE_STEPS, rows=4) for one in wanted]
        records = train_all(wanted, base, out, seed=options.seed, jobs=1, rounds=1)
    else:
        records = train_all(wanted, base, out, seed=options.seed, jobs=options.jobs, rounds=options.rounds)
    console = Console()
    if options.smoke:
        worse = [record["adapter"] for record in records if record["loss_last"] >= record["loss_first"]]
        console.print(f"the loss did not fall: {worse}" if worse else "the loss of every adapter fell")
        return 1 if worse else 0
    scores = evaluate(base, out, options.questions, only=names)
    for score in scores:
        note_score(out / score.adapter, ADAPTERS[score.adapter], score)
    console.print(table(scores))
    return 0 if all(score.passed for score in scores) else 1


if __name__ == "__main__":
    raise SystemExit(main())
