"""What the trainers with one recipe and one folder share: their flags, and what their cards say of a run."""

import argparse
from pathlib import Path
from typing import Any

import torch

from penstock.zoo.sittings import processor


def trainer_parser(model: str, text: str | None) -> argparse.ArgumentParser:
    """Return a parser with the flags that every such trainer has."""
    parser = argparse.ArgumentParser(prog=f"penstock zoo train --model {model}", description=text)
    parser.add_argument("--out", type=Path, default=Path("runs") / model, help="folder to write")
    parser.add_argument(
        "--smoke", action="store_true", help="a few seconds of training, to see that it works"
    )
    parser.add_argument("--seed", type=int, help="another seed than the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    return parser


def changes(options: argparse.Namespace) -> dict[str, Any]:
    """Use the threads asked for; return the fields of the recipe that the flags replace."""
    torch.set_num_threads(options.threads)
    return {} if options.seed is None else {"seed": options.seed}


def command(model: str, options: argparse.Namespace) -> str:
    """Return the command line that makes the model again."""
    return f"penstock zoo train --model {model}" + " --smoke" * options.smoke


def hardware(options: argparse.Namespace) -> str:
    """Return what the run was made on, in words."""
    return f"{processor()}, threads: {options.threads}, torch {torch.__version__}"
