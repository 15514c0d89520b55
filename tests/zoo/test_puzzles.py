"""Logic puzzles: solved again by trying every possibility, from the text of the request alone."""

import random
import re
from itertools import permutations, product

import pytest

from penstock.zoo.data import puzzles
from penstock.zoo.data.base import Turn

_LESS = ("shorter", "younger", "slower", "poorer")


def drawn(pattern: str, count: int = 80) -> list[Turn]:
    rng, found = random.Random(pattern), list[Turn]()
    while len(found) < count:
        turn = puzzles.SKILL.sample(rng)[0]
        if re.search(pattern, turn.user):
            found.append(turn)
    return found


def test_only_one_order_fits_and_it_is_the_answer() -> None:
    for turn in drawn(r"est\?"):
        clues = [(b, a) if word in _LESS else (a, b)
                 for a, word, b in re.findall(r"(\w+) is (\w+) than (\w+)\.", turn.user)]  # fmt: skip
        people = sorted({name for clue in clues for name in clue})
        fits = [row for row in permutations(people) if all(row.index(a) < row.index(b) for a, b in clues)]
        assert len(fits) == 1
        place, word = re.search(r"the (second |third |fourth )?(\w+)\?", turn.user).groups()  # type: ignore[union-attr]
        at = -1 if word in ("shortest", "youngest", "slowest", "poorest") else 0
        at = {"second ": 1, "third ": 2, "fourth ": 3}[place] if place else at
        assert turn.expect["answer"] == fits[0][at]


def test_only_one_deal_fits_and_it_is_the_answer() -> None:
    for turn in drawn("one each"):
        head, clues = turn.user.split(", one each. ")
        owners, things = head.split(" have ")
        people = re.split(r", | and ", owners)
        goods = [re.sub(r"^an? ", "", thing) for thing in re.split(r", | and ", things)]
        yes = re.findall(r"(\w+) has the ([\w ]+)\.", clues)
        no = re.findall(r"(\w+) does not have the ([\w ]+)\.", clues)
        deals = [dict(zip(people, deal, strict=True)) for deal in permutations(goods)]
        fits = [d for d in deals if all(d[n] == g for n, g in yes) and all(d[n] != g for n, g in no)]
        assert len(fits) == 1
        who, what = re.search(r"What does (\w+) have", clues), re.search(r"Who has the ([\w ]+)\?", clues)
        right = (
            f"the {fits[0][who[1]]}" if who else next(n for n, g in fits[0].items() if what and g == what[1])
        )
        assert turn.expect["answer"] == right


def test_liars_are_told_from_the_honest() -> None:
    for turn in drawn(r" says that "):
        first, honest = re.match(r"(\w+) (tells the truth|lies)\.", turn.user).groups()  # type: ignore[union-attr]
        claims = re.findall(r"(\w+) says that (\w+) (tells the truth|lies)\.", turn.user)
        people = [first, *(other for _, other, _ in claims)]
        worlds = [
            dict(zip(people, world, strict=True)) for world in product([True, False], repeat=len(people))
        ]
        fits = [
            world
            for world in worlds
            if world[first] == (honest != "lies")
            and all((world[other] == (claim != "lies")) == world[one] for one, other, claim in claims)
        ]
        assert len(fits) == 1
        last, asked = re.search(r"Does (\w+) (tell the truth|lie)\?", turn.user).groups()  # type: ignore[union-attr]
        assert turn.expect["answer"] == ("yes" if fits[0][last] == (asked != "lie") else "no")


def test_parity_switches_and_kinds() -> None:
    for turn in drawn("even or odd"):
        assert turn.expect["answer"] == (
            "odd" if sum(map(int, re.findall(r"\d+", turn.user))) % 2 else "even"
        )
    for turn in drawn("switch"):
        presses = int((re.findall(r"\d+", turn.user) or ["1"])[0])
        on = ("is on." in turn.user) != (presses % 2 == 1)
        assert turn.expect["answer"] == ("on" if on else "off")
    for turn in drawn("Are all"):
        links = {a: (word, b) for word, a, b in re.findall(r"(All|No) (\w+) are (\w+)\.", turn.user)}
        kind, goal = re.search(r"Are all (\w+) (\w+)\?", turn.user).groups()  # type: ignore[union-attr]
        none = False
        while kind != goal and kind in links:
            word, kind = links[kind]
            none |= word == "No"
        assert turn.expect["answer"] == ("not sure" if kind != goal else "no" if none else "yes")


@pytest.mark.parametrize("seed", range(3))
def test_the_checker_wants_the_last_line(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        turn = puzzles.SKILL.sample(rng)[0]
        assert puzzles.SKILL.check(turn, turn.answer)
        assert not puzzles.SKILL.check(turn, turn.answer.rsplit("\n", 1)[0])
        assert not puzzles.SKILL.check(turn, turn.answer + " not")
        assert turn.expect["answer"].lower() in turn.answer.rsplit("\n", 1)[0].lower() or turn.expect[
            "answer"
        ] in ("yes", "no", "not sure")
