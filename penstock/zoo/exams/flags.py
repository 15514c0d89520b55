"""The flags of an evaluation; importing them is cheap."""

import argparse
from pathlib import Path

from penstock.zoo.exams.parts import FEW, PARTS, QUESTIONS


class FlagError(ValueError):
    """A flag that makes no sense.

    Args:
        flag: its name.
        text: what was expected.
    """

    def __init__(self, flag: str, text: str) -> None:
        super().__init__(f"{flag}: {text}")
        self.flag, self.text = flag, text


def add_flags(parser: argparse._ActionsContainer) -> None:
    """Add the flags of an evaluation to a parser or group."""
    add = parser.add_argument
    add(
        "--model", nargs="+", default=[], metavar="MODEL",
        help="chat models by name (chat, small...) or folder; by default the whole zoo is examined",
    )  # fmt: skip
    add("--parts", nargs="+", choices=PARTS, metavar="PART", help=f"only these exams: {', '.join(PARTS)}")
    add("--skills", nargs="+", default=[], metavar="SKILL", help="only these skills, and no other exam")
    add("--questions", type=int, metavar="N", help=f"questions behind each figure [default: {QUESTIONS}]")
    add("--quick", action="store_true", help=f"{FEW} questions behind each figure")
    add("--seed", type=int, default=0, metavar="N", help="another seed asks other questions [default: 0]")
    add(
        "--context", type=int, default=0, metavar="N",
        help="tokens of unrelated talk before every question of the skills [default: 0]",
    )  # fmt: skip
    add("--json", type=Path, metavar="FILE", help="also write the report here")
    add("--plot", type=Path, metavar="FILE", help="draw recall over context and depth (needs matplotlib)")
    add("--failures", action="store_true", help="show some wrong answers of every figure")
