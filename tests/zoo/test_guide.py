"""What docs/zoo.md shows works: its example of a skill, its commands, and no skill is left out."""

import random
import re
from pathlib import Path

import pytest

from penstock.cli.main import build_parser
from penstock.cli.main import main as penstock
from penstock.zoo.data.base import draw
from penstock.zoo.data.mixture import SKILLS

GUIDE = (Path(__file__).parents[2] / "docs" / "zoo.md").read_text()
COMMANDS = sorted(
    {line.split("#")[0].strip() for line in GUIDE.splitlines() if line.startswith("penstock zoo ")}
)


def test_the_example_of_a_skill_draws_and_checks() -> None:
    (code,) = [part for part in re.findall(r"```python\n(.*?)```", GUIDE, re.S) if "SKILL = " in part]
    names: dict[str, object] = {}
    exec(code, names)
    skill = names["SKILL"]
    drawn = {split: draw(skill, random.Random(1), split)[-1] for split in ("train", "test")}
    assert all(skill.check(turn, turn.answer) for turn in drawn.values())
    assert not skill.check(drawn["train"], drawn["test"].answer)


def test_every_skill_has_an_example() -> None:
    assert [name for name in SKILLS if f"`{name}`" not in GUIDE] == []


@pytest.mark.parametrize("command", [one for one in COMMANDS if " train " not in one])
def test_commands_of_the_zoo_are_understood(command: str) -> None:
    args, left = build_parser().parse_known_args(command.split()[1:])
    assert left == [] and callable(args.run)


@pytest.mark.parametrize("command", [one for one in COMMANDS if " train " in one])
def test_commands_that_train_are_understood(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        penstock([*command.split()[1:], "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    flags = [word for word in command.split()[3:] if word.startswith("--")]
    assert all(flag in shown or flag == "--model" for flag in flags)
