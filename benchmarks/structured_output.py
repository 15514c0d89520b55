"""Structured output on random weights: does every finished answer validate, what does it cost?

    python benchmarks/structured_output.py [--schemas 500] [--backend xgrammar] [--rounds 3] [--save FOLDER]

A model with random weights follows no instruction: at temperature 1 only the masks make its answers JSON.
The vocabulary of 32k tokens is trained (byte-level BPE) on the sources of the Python library.

* validity: each of the schemas (`penstock.testing.schemas`, by seed) is answered once; every finished answer
  must parse and validate, formats by their shape;
* throughput: the same answers, and free ones of the same lengths, in turns (A B A B); grammars are compiled
  before;
* fill: one matcher per schema is driven at random; the time of each mask.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from rich.console import Console

from penstock.bench.machine import machine, versions
from penstock.core.request import GrammarSpec
from penstock.frontend.llm import LLM
from penstock.frontend.outputs import RequestOutput
from penstock.runtime.grammar.backends import open_backend
from penstock.runtime.grammar.vocabulary import read_vocabulary
from penstock.testing.schemas import FORMATS, Schema, SchemaGenerator

MAX_TOKENS = 1024
VOCABULARY = 32_000
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1376,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "torch_dtype": "bfloat16",
}


def sources(limit: int) -> Iterator[str]:
    """Yield Python files of the standard library, up to ``limit`` characters in all."""
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        text = path.read_text("utf-8", "replace")
        yield text
        limit -= len(text)
        if limit < 0:
            return


def make_model(folder: Path, vocabulary: int, characters: int, **changes: Any) -> Path:
    """Write a config and a tokenizer; the weights are drawn when the model is loaded."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(sources(characters), trainer)
    PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    config = {**MODEL, "vocab_size": -(-vocabulary // 64) * 64, **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def checker() -> jsonschema.FormatChecker:
    """Check the shapes of formats."""
    found = jsonschema.FormatChecker(formats=())
    for name, shape in FORMATS.items():
        found.checks(name)(
            lambda value, shape=shape: not isinstance(value, str) or bool(shape.fullmatch(value))
        )
    return found


def check(schemas: Sequence[Schema], outputs: Sequence[RequestOutput]) -> dict[str, Any]:
    """Count answers by how they ended, and those that validate."""
    formats, finished, valid, wrong = checker(), 0, 0, []
    for schema, output in zip(schemas, outputs, strict=True):
        answer = output.outputs[0]
        if answer.finish_reason != "stop":
            if answer.finish_reason != "length":
                wrong.append({"schema": schema, "text": answer.text, "why": str(answer.detail)})
            continue
        finished += 1
        try:
            jsonschema.Draft202012Validator(schema, format_checker=formats).validate(json.loads(answer.text))
            valid += 1
        except (ValueError, jsonschema.ValidationError) as error:
            wrong.append({"schema": schema, "text": answer.text, "why": str(error).splitlines()[0]})
    tokens = [len(output.outputs[0].token_ids) for output in outputs]
    return {
        "answers": len(outputs),
        "finished": finished,
        "valid": valid,
        "cut_off_at_max_tokens": sum(out.outputs[0].finish_reason == "length" for out in outputs),
        "tokens_mean": statistics.mean(tokens),
        "wrong": wrong[:10],
    }


def answer(llm: LLM, asked: Sequence[dict[str, Any]]) -> tuple[list[RequestOutput], float]:
    """Answer all, and say how many tokens a second that were."""
    began = time.perf_counter()
    outputs = llm.generate([[2 + i % 200, 5, 7] for i in range(len(asked))], list(asked))
    seconds = time.perf_counter() - began
    return outputs, sum(len(output.outputs[0].token_ids) for output in outputs) / seconds


def fill_times(folder: Path, backend: str, schemas: Sequence[Schema], size: int) -> list[float]:
    """Drive a matcher per schema at random; seconds of each mask."""
    vocabulary = read_vocabulary(str(folder), "", size, (1,))
    library, rng, times = open_backend(backend, vocabulary), np.random.default_rng(0), []
    mask_W = np.zeros(-(-size // 32), np.int32)
    for schema in schemas:
        spec = GrammarSpec(kind="json_schema", text=json.dumps(schema))
        matcher = library.load(spec, library.compile(spec)).matcher()
        for _ in range(64):
            began = time.perf_counter()
            matcher.fill(mask_W)
            times.append(time.perf_counter() - began)
            ids = np.flatnonzero(np.unpackbits(mask_W.view(np.uint8), bitorder="little")[:size])
            token = int(rng.choice(ids))
            matcher.accept(token)
            if token == 1:
                break
    return times


def run(
    folder: Path, backend: str, schemas: Sequence[Schema], *, rounds: int, seqs: int, max_tokens: int
) -> dict[str, Any]:
    """Take all three figures."""
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    fills = fill_times(folder, backend, schemas, size)
    sampling = {"temperature": 1.0, "max_tokens": max_tokens}
    bound = [{**sampling, "seed": i, "structured_outputs": {"json": one}} for i, one in enumerate(schemas)]
    # All grammars must stay: at a vocabulary of 32k, 500 of them outgrow the default cache, and would be
    # compiled again in every turn.
    settings = {"max_num_seqs": seqs, "grammar_backend": backend, "grammar_cache_bytes": 2**33}
    with LLM(str(folder), load_format="dummy", **settings) as llm:
        began = time.perf_counter()
        outputs, _ = answer(llm, bound)
        first = time.perf_counter() - began
        lengths = [len(output.outputs[0].token_ids) for output in outputs]
        free = [
            {"temperature": 1.0, "max_tokens": n, "ignore_eos": True, "seed": i}
            for i, n in enumerate(lengths)
        ]
        answer(llm, free[:seqs])
        rates: dict[str, list[float]] = {"free": [], "bound": []}
        for _ in range(rounds):
            rates["free"].append(answer(llm, free)[1])
            rates["bound"].append(answer(llm, bound)[1])
    ratios = [b / a for a, b in zip(rates["free"], rates["bound"], strict=True)]
    quantiles = statistics.quantiles([1000 * t for t in fills], n=100)
    return {
        "validity": check(schemas, outputs),
        "first_run_seconds": first,
        "tokens_per_second": rates,
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
        "fill_ms": {
            "p50": quantiles[49],
            "p99": quantiles[98],
            "max": 1000 * max(fills),
            "masks": len(fills),
        },
    }


def main() -> None:
    """Run and print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--schemas", type=int, default=500)
    parser.add_argument("--backend", choices=("xgrammar", "llguidance"), default="xgrammar")
    parser.add_argument("--rounds", type=int, default=3, help="turns of free and bound answers")
    parser.add_argument("--seqs", type=int, default=32, help="answers under way at once")
    parser.add_argument("--max-tokens", type=int, default=MAX_TOKENS)
    parser.add_argument("--save", type=Path, help="folder for the JSON")
    args = parser.parse_args()
    generator = SchemaGenerator(0)
    schemas = [generator.schema() for _ in range(args.schemas)]
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = make_model(Path(name), VOCABULARY, 20_000_000)
        figures = run(
            folder, args.backend, schemas, rounds=args.rounds, seqs=args.seqs, max_tokens=args.max_tokens
        )
    console.print_json(json.dumps(figures))
    if args.save:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        settings = {name: value for name, value in vars(args).items() if name != "save"}
        path = args.save / f"structured-output-{args.backend}-{stamp}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            json.dumps(
                {
                    "machine": machine(),
                    "versions": versions(),
                    "settings": {**settings, "model": MODEL, "vocabulary": VOCABULARY},
                    **figures,
                },
                indent=1,
            )
        )
        console.print(f"saved {path}")


if __name__ == "__main__":
    main()
