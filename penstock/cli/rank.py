"""``penstock rank``: learn from traffic whose answer will be longer, for the order ``ltr``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from penstock.cli.parser import Parser, Verbs, add_verb, add_verbs, flag, number
from penstock.config.flags import add_flags, config_from_args
from penstock.core.errors import ConfigError

_HELP = "Train a ranker of answer lengths from recorded traffic, and measure it."
_TEXT = """
The order `ltr` serves short answers first. Which ones will be short, a small network reads off the prompt; it
is trained on recorded requests, one JSON object a line: `output_tokens` and `prompt_ids`, or `prompt` (text),
or `messages` (a conversation; the model's tokenizer and chat template turn it into tokens).

examples:
  penstock serve --ranker bundled --order "priority > ltr"      the bundled model's, shipped
  penstock rank collect traffic.jsonl --count 2000      have the bundled model answer questions
  penstock rank train traffic.jsonl --out ranker
  penstock rank eval ranker other-traffic.jsonl
  penstock serve --ranker ranker --order "priority > ltr"
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb and the verbs below it."""
    parser = verbs.add_parser("rank", help=_HELP, description=f"{_HELP}\n\n{_TEXT.strip()}")
    tools = add_verbs(parser, "steps")
    text = "Have a model answer the zoo's questions of foreseeable length, and record the lengths."
    one = add_verb(tools, "collect", run_collect, text, "", "OUT.jsonl")
    one.add_argument("out", metavar="OUT.jsonl", help="file to write")
    flag(one, "--count", 2000, "N", "questions", number(2))
    flag(one, "--draw", 0, "SEED", "seed of the questions", number(0))
    flag(one, "--split", "train", "NAME", "train or test: their questions are disjoint")
    flag(one, "--max-tokens", 256, "N", "longest answer", number(1))
    add_flags(one, only=("model", "cache", "schedule"))
    text = "Train a ranker and write its folder."
    one = add_verb(tools, "train", run_train, text, "", "TRAFFIC.jsonl")
    one.add_argument("traffic", metavar="TRAFFIC.jsonl", help="recorded requests")
    flag(one, "--out", "ranker", "DIR", "folder to write")
    flag(one, "--kind", "bag", "NAME", "network: bag (of tokens and pairs) or encoder")
    flag(one, "--epochs", 12, "N", "passes over the traffic", number(1))
    flag(one, "--granularity", 1, "TOKENS", "differences of length below this are not learned", number(1))
    flag(one, "--draw", 0, "SEED", "seed of weights and order", number(0))
    add_flags(one, only=("model",))
    text = "Measure a ranker on recorded traffic."
    one = add_verb(tools, "eval", run_eval, text, "", "DIR TRAFFIC.jsonl")
    one.add_argument("ranker_folder", metavar="DIR", help="folder of the ranker; bundled: the shipped one")
    one.add_argument("traffic", metavar="TRAFFIC.jsonl", help="recorded requests that it was not trained on")
    add_flags(one, only=("model",))


def _encoder(args: argparse.Namespace) -> tuple[Any, int]:
    """Return what turns a row into token ids, and the vocabulary size."""
    from transformers import AutoConfig

    from penstock.frontend.model import load_tokenizer, model_name
    from penstock.frontend.prompts import Chat

    settings = config_from_args(args)
    tokenizer = load_tokenizer(settings)
    known = AutoConfig.from_pretrained(model_name(settings), revision=settings.model.revision or None)

    def encode(row: dict[str, Any]) -> tuple[int, ...]:
        if "messages" in row:
            text = tokenizer.render_chat(Chat(messages=row["messages"]))
            return tokenizer.encode(text, add_special_tokens=False)
        return tokenizer.encode(row["prompt"])

    return encode, int(known.get_text_config().vocab_size)


def run_collect(args: argparse.Namespace) -> int:
    """Answer and record."""
    if args.split not in ("train", "test"):
        raise ConfigError("--split", f"expected train or test, got {args.split!r}")
    from penstock.bench.lengths import answer, predictable
    from penstock.frontend.llm import LLM
    from penstock.predict.traffic import write_traffic

    with LLM(config=config_from_args(args)) as llm:
        talks = predictable(args.count, args.draw, args.split)
        samples = answer(llm, talks, progress=True, max_tokens=args.max_tokens)
    print(f"wrote {write_traffic(Path(args.out), samples)} requests to {args.out}")
    return 0


def run_train(args: argparse.Namespace) -> int:
    """Train, report, save."""
    from rich.progress import Progress

    from penstock.predict.model import RankerConfig
    from penstock.predict.ranker import LengthRanker
    from penstock.predict.traffic import read_traffic
    from penstock.predict.train import Epoch, Training, train

    if args.kind not in ("bag", "encoder"):
        raise ConfigError("--kind", f"expected bag or encoder, got {args.kind!r}")
    encode, vocab_size = _encoder(args)
    samples = read_traffic(Path(args.traffic), encode)
    if len(samples) < 4:
        raise ConfigError("traffic", f"four answered requests are the least to train on, got {len(samples)}")
    largest = max(max(sample.prompt_ids) for sample in samples)
    if largest >= vocab_size:
        raise ConfigError(
            "traffic",
            f"{args.traffic} holds token id {largest}, but the model has {vocab_size}; give its --model",
        )
    config = RankerConfig(vocab_size=vocab_size, kind=args.kind)
    how = Training(epochs=args.epochs, granularity=args.granularity, seed=args.draw)
    with Progress() as progress:
        task = progress.add_task("epochs", total=args.epochs)

        def report(epoch: Epoch) -> None:
            progress.update(task, advance=1, description=f"epoch {epoch.number}: tau {epoch.tau:.3f}")

        model, best = train(samples, config, how, report)
    LengthRanker(model).save(Path(args.out))
    print(f"best epoch {best.number}: Kendall's tau {best.tau:.3f} on the held-out tenth; wrote {args.out}")
    return 0


def run_eval(args: argparse.Namespace) -> int:
    """Print tau and the time that scoring takes."""
    from penstock.predict.evaluation import score_samples
    from penstock.predict.ranker import LengthRanker, ranker_folder
    from penstock.predict.traffic import read_traffic

    encode, _ = _encoder(args)
    samples = read_traffic(Path(args.traffic), encode)
    if len(samples) < 3:
        raise ConfigError(
            "traffic", f"three answered requests are the least to measure on, got {len(samples)}"
        )
    score = score_samples(LengthRanker.load(ranker_folder(args.ranker_folder)), samples)
    print(
        f"Kendall's tau {score.tau:.3f} ({score.low:.3f} to {score.high:.3f}) on {score.requests} requests, "
        f"{score.by_prompt_length:.3f} by prompt length; scoring took {score.milliseconds:.3f} ms a prompt"
    )
    return 0
