"""Run the cases; the process dies, or ends with an assertion, at the first that goes wrong.

The last line on stdout names it, and `--only`, `--seed` and `--first` repeat it.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import zlib

import numpy as np

from penstock.kernels.native.library import isa, library, start_team
from tests.kernels_native.bounds import (  # noqa: F401  (they register their cases)
    attention,
    experts,
    heads,
    linear,
)
from tests.kernels_native.bounds.cases import CASES
from tests.kernels_native.bounds.memory import Memory

SIDES, THREADS = ("behind", "before"), (1, 3)


def main() -> None:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=20, help="draws of each case, side and number of threads"
    )
    parser.add_argument("--first", type=int, default=0, help="the first draw")
    parser.add_argument("--seed", type=int, default=0, help="of the draws; -1 takes a new one")
    parser.add_argument("--only", default="", metavar="CASE", help=f"one of {', '.join(CASES)}")
    args = parser.parse_args()
    faulthandler.enable()
    seed = int.from_bytes(os.urandom(4)) if args.seed < 0 else args.seed
    print(f"instruction set {isa()}, seed {seed}", flush=True)
    for name, run in CASES.items():
        if args.only not in ("", name):
            continue
        for draw in range(args.first, args.first + args.rounds):
            for side in SIDES:
                for threads in THREADS:
                    print(
                        f"{name}: --seed {seed} --first {draw}, pages {side}, {threads} threads", flush=True
                    )
                    start_team(threads, spin_us=20)
                    memory = Memory(side)
                    run(library(), np.random.default_rng([seed, zlib.crc32(name.encode()), draw]), memory)
                    memory.clear()
    print("all within bounds", flush=True)


if __name__ == "__main__":
    main()
