"""``penstock generate``: complete prompts with a model in this process, no server."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from penstock.cli.parser import Parser, Verbs, add_verb, flag, number
from penstock.cli.sampling import add_sampling_flags, sampling_of
from penstock.config.flags import add_flags, config_from_args
from penstock.core.errors import ConfigError

if TYPE_CHECKING:
    from penstock.frontend.outputs import RequestOutput

_TEXT = """
All prompts run as one batch. By default the text is continued as it is; --chat puts each prompt into the
model's chat template as a user's message. A prompt of - is read from standard input.

examples:
  penstock generate "Once upon a time" --max-tokens 64
  penstock generate --chat "Count from three to nine." --temperature 0
  penstock generate --model /models/llama-3.2-1b "One" "Two" --n 2 --seed 1 --json
  cat letter.txt | penstock generate --chat --system "Summarise." -
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    text = "Complete prompts with a model in this process."
    parser = add_verb(verbs, "generate", run, text, _TEXT, "PROMPT...")
    parser.add_argument(
        "prompts", metavar="PROMPT", nargs="+", help="text to continue, or - for standard input"
    )
    parser.add_argument("--chat", action="store_true", help="treat each prompt as a user's message")
    flag(parser, "--system", "", "TEXT", "instruction before each message, with --chat", shown="none")
    parser.add_argument("--json", action="store_true", help="print one JSON object per prompt")
    group = add_sampling_flags(parser, "16; with --chat up to the model's context")
    flag(group, "--n", 1, "N", "completions of each prompt", number(1))
    group.add_argument("--ignore-eos", action="store_true", help="go on to --max-tokens")
    add_flags(parser, only=("model", "cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Generate and print, in the order of the prompts; 1 when a request failed."""
    if args.system and not args.chat:
        raise ConfigError("--system", "needs --chat")
    config = config_from_args(args)
    prompts = [sys.stdin.read() if prompt == "-" else prompt for prompt in args.prompts]
    params: dict[str, Any] = {"n": args.n, "ignore_eos": args.ignore_eos, **sampling_of(args)}
    if hasattr(args, "model.seed"):
        params["seed"] = config.model.seed  # --seed means both: of dummy weights and of sampling
    from penstock.frontend.llm import LLM

    with LLM(config=config) as llm:
        if args.chat:
            outputs = llm.chat([_messages(args.system, prompt) for prompt in prompts], params)
        else:
            outputs = llm.generate(prompts, params)
    for index, output in enumerate(outputs):
        _print(output, f"prompt {index}" if len(outputs) > 1 or args.n > 1 else "", args.json)
    return 1 if any(one.finish_reason == "error" for output in outputs for one in output.outputs) else 0


def _messages(system: str, prompt: str) -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": prompt}]


def _print(output: RequestOutput, heading: str, as_json: bool) -> None:
    """Print one prompt's completions: bare text without a heading, else each under its own."""
    if as_json:
        print(json.dumps(_plain(output), ensure_ascii=False))
        return
    for one in output.outputs:
        if heading:
            print(f"--- {heading}, completion {one.index} ({one.finish_reason})")
        if one.finish_reason == "error":
            print(f"penstock: the request failed: {one.detail}", file=sys.stderr)
        print(one.text)


def _plain(output: RequestOutput) -> dict[str, Any]:
    return {
        "prompt": output.prompt,
        "prompt_tokens": output.usage.prompt_tokens,
        "cached_tokens": output.usage.cached_tokens,
        "outputs": [
            {
                "index": one.index,
                "text": one.text,
                "finish_reason": str(one.finish_reason),
                "tokens": len(one.token_ids),
            }
            for one in output.outputs
        ],
    }
