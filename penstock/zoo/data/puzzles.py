"""Small logic puzzles: who is taller, who owns what, who lies, even or odd, are all blips blops.

The answer goes step by step through what the puzzle says and ends with ``Answer: X``.
"""

import random
from collections.abc import Callable
from itertools import pairwise

from penstock.zoo.data.base import Skill, Turn, article, capital, norm, spin
from penstock.zoo.data.words import NAMES

_MORE = {
    "taller": ("shorter", "tallest", "shortest"),
    "older": ("younger", "oldest", "youngest"),
    "faster": ("slower", "fastest", "slowest"),
    "richer": ("poorer", "richest", "poorest"),
}
_PLACES = ("first", "second", "third", "fourth", "fifth")
_OWNED = ("dog", "cat", "fish", "bird", "horse", "rabbit", "red hat", "blue hat", "green hat", "apple", "key",
          "book", "ring", "drum")  # fmt: skip
_KINDS = ("blip", "blop", "wug", "zog", "dax", "fep", "gug", "lum", "mip", "nop", "pim", "rog", "tam", "vok")
_LAMPS = ("lamp", "light", "radio", "fan", "machine")

Puzzle = tuple[str, list[str], str, str]
"""The request, the steps of its solution, the answer, and the key."""


def _order(rng: random.Random) -> Puzzle:
    """People in a row, told by pairs; the answer puts the pairs in order first."""
    count = rng.choice([3, 3, 3, 4, 4, 5])
    people = rng.sample(NAMES, count)
    more = rng.choice(list(_MORE))
    less, most, least = _MORE[more]
    clues = list[str]()
    for high, low in pairwise(people):
        turned = rng.random() < 0.3
        clues.append(f"{low} is {less} than {high}." if turned else f"{high} is {more} than {low}.")
    rng.shuffle(clues)
    top = rng.random() < 0.5
    asked, answer = (most, people[0]) if top else (least, people[-1])
    steps = [f"{high} is {more} than {low}." for high, low in pairwise(people)]
    steps.append(f"The order is {', '.join(people)}.")
    user = f"{' '.join(clues)} Who is the {asked}?"
    if count > 2 and rng.random() < 0.3:
        place = rng.randrange(1, count - 1)
        user, answer = f"{' '.join(clues)} Who is the {_PLACES[place]} {most}?", people[place]
    return user, steps, answer, norm(user)


def _owners(rng: random.Random) -> Puzzle:
    """Three people with a thing each; one is told, one is excluded, the rest follows."""
    people, things = rng.sample(NAMES, 3), rng.sample(_OWNED, 3)
    sure, second, third = people
    clues = [f"{sure} has the {things[0]}.", f"{second} does not have the {things[2]}."]
    rng.shuffle(clues)
    listed, shown = sorted(people), sorted(things)
    who = f"{listed[0]}, {listed[1]} and {listed[2]}"
    user = f"{who} have {article(shown[0])}, {article(shown[1])} and {article(shown[2])}, one each. "
    user += " ".join(clues)
    steps = [
        f"{sure} has the {things[0]}.",
        f"{second} does not have the {things[2]}, so {second} has the {things[1]}.",
        f"{third} has the {things[2]}.",
    ]
    at = rng.randrange(3)
    if rng.random() < 0.5:
        return f"{user} Who has the {things[at]}?", steps, people[at], norm(f"{user} who {things[at]}")
    question = f"{user} What does {people[at]} have?"
    return question, steps, f"the {things[at]}", norm(question)


def _liars(rng: random.Random) -> Puzzle:
    """Each says of the next whether that one lies; the first is known."""
    people = rng.sample(NAMES, rng.choice([2, 3, 3, 4, 5]))
    honest = rng.random() < 0.5
    verb = {True: "tells the truth", False: "lies"}
    clues, steps = [f"{people[0]} {verb[honest]}."], list[str]()
    for speaker, other in pairwise(people):
        claim = rng.random() < 0.5
        clues.append(f"{speaker} says that {other} {verb[claim]}.")
        before, honest = honest, claim == honest
        steps.append(
            f"{speaker} {verb[before]} and says that {other} {verb[claim]}, so {other} {verb[honest]}."
        )
    asked = rng.random() < 0.5
    user = f"{' '.join(clues)} Does {people[-1]} {'tell the truth' if asked else 'lie'}?"
    return user, steps, "yes" if asked == honest else "no", norm(user)


def _parity(rng: random.Random) -> Puzzle:
    """Even or odd, of a sum of numbers that need not be added."""
    numbers = [rng.randint(1, rng.choice([20, 100, 999])) for _ in range(rng.choice([2, 2, 3, 3, 4]))]
    names = ["odd" if number % 2 else "even" for number in numbers]
    steps = [f"{number} is {name}." for number, name in zip(numbers, names, strict=True)]
    so_far = names[0]
    for name in names[1:]:
        both = "even" if so_far == name else "odd"
        steps.append(f"{capital(so_far)} and {name} make {both}.")
        so_far = both
    terms = " + ".join(map(str, numbers))
    return spin(rng, "is {|the sum }<t> even or odd?", t=terms), steps, so_far, f"parity {terms}"


def _switch(rng: random.Random) -> Puzzle:
    """A switch that is pressed several times."""
    what, on, presses = rng.choice(_LAMPS), rng.random() < 0.5, rng.randint(1, 9)
    start, states = on, list[str]()
    for press in range(1, presses + 1):
        on = not on
        states.append(f"{press}: {'on' if on else 'off'}")
    state = "on" if start else "off"
    who = rng.choice(NAMES)
    times = f"{presses} times" if presses > 1 else "once"
    user = f"The {what} is {state}. {who} presses the switch {times}. Is the {what} on or off?"
    return user, [f"At first it is {state}.", ", ".join(states) + "."], "on" if on else "off", norm(user)


def _kinds(rng: random.Random) -> Puzzle:
    """A chain of kinds; asked along the chain (yes), through a "no" (no), or against it (not sure)."""
    kinds = [kind + "s" for kind in rng.sample(_KINDS, rng.choice([2, 3, 3, 4, 4, 5]))]
    none = rng.random() < 0.35
    clues = [f"All {a} are {b}." for a, b in pairwise(kinds)]
    if none:
        clues[-1] = f"No {kinds[-2]} are {kinds[-1]}."
    shown = clues[:]
    rng.shuffle(shown)
    if not none and rng.random() < 0.35:
        user = f"{' '.join(shown)} Are all {kinds[-1]} {kinds[0]}?"
        return user, [*clues, f"Nothing says that all {kinds[-1]} are {kinds[0]}."], "not sure", norm(user)
    user = f"{' '.join(shown)} Are all {kinds[0]} {kinds[-1]}?"
    told = f"{'No' if none else 'All'} {kinds[0]} are {kinds[-1]}."
    return user, [*clues, f"So {told[0].lower()}{told[1:]}"], "no" if none else "yes", norm(user)


_PUZZLES: tuple[Callable[[random.Random], Puzzle], ...] = (
    _order,
    _order,
    _owners,
    _liars,
    _parity,
    _switch,
    _kinds,
)


def _sample(rng: random.Random) -> list[Turn]:
    make = rng.choice(_PUZZLES)
    user, steps, answer, key = make(rng)
    text = "\n".join([*steps, f"Answer: {answer}"])
    return [Turn("puzzles", user, text, f"puzzle {key}", {"answer": answer}, verbatim=True)]


def _check(turn: Turn, answer: str) -> bool:
    """The last line is ``Answer: X`` with the right X."""
    last = answer.strip().rsplit("\n", 1)[-1]
    return last.startswith("Answer: ") and norm(last.removeprefix("Answer: ")) == norm(turn.expect["answer"])


SKILL = Skill("puzzles", _sample, _check)
