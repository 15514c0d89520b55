"""Measuring the zoo by the reference implementation: ``python -m penstock.zoo.evaluate``.

``penstock zoo eval`` does the same by Penstock's own engine, and faster.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.zoo.adapters.evaluate import open_merged
from penstock.zoo.exams.answers import Answerer, Reply
from penstock.zoo.exams.command import run
from penstock.zoo.exams.flags import FlagError, add_flags
from penstock.zoo.exams.plan import Encoder
from penstock.zoo.exams.rows import Row


class _Vectors:
    """An embedder by transformers."""

    def __init__(self, folder: Path) -> None:
        from penstock.zoo.embedder import Embedder

        self.vectors = Embedder.load(folder)

    def close(self) -> None:
        """Nothing to do."""


class ReferenceRoom:
    """Runs the exams by transformers; a `Room`."""

    name = "transformers"

    def open(self, folder: Path, adapter: Path | None = None) -> Answerer:
        """Load a chat model."""
        return open_merged(folder, adapter)

    def open_encoder(self, folder: Path) -> Encoder:
        """Load an embedder."""
        return _Vectors(folder)

    def ranker_rows(
        self, folder: Path, questions: int, seed: int, replies: Mapping[str, Sequence[Reply]]
    ) -> list[Row]:
        """Rankers are no models of transformers."""
        raise NotImplementedError("not measured: run `penstock zoo eval` without --reference")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.evaluate", description=__doc__)
    add_flags(parser)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    options = parser.parse_args(argv)
    import torch

    torch.set_num_threads(options.threads)
    try:
        run(options, ReferenceRoom())
    except FlagError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
