"""Short stories and small poems, assembled from parts."""

import random

from penstock.zoo.data.base import Skill, Turn, article, capital, imperative, norm, pseudo, spin
from penstock.zoo.data.texts import load
from penstock.zoo.data.words import ADJECTIVES, NAMES, NOUNS, THEMES

_TEXTS = load("stories")
_ANOTHER = (
    "another one",
    "another one, please",
    "another story",
    "tell me another one",
    "one more",
    "another story please",
)


def _story(
    rng: random.Random, hero: str, name: str, place: str, helper: str, long: bool, trait: str = ""
) -> str:
    plot = rng.choice(_TEXTS["plots"])
    call = name or f"the {hero}"
    trait = trait or rng.choice(_TEXTS["traits"])
    lines = [spin(rng, "{Once upon a time|Once|Long ago}, <w> lived in <p>.", p=place,
                  w=article(f"{trait} {hero}") + (f" named {name}" if name else ""))]  # fmt: skip
    lines.append(f"One {rng.choice(['day', 'day', 'morning', 'evening'])}, {call} {plot['goal']}.")
    if long:
        lines.append(spin(rng, "{Everyone|The whole town|Some people} {called it too hard|only laughed|"
                               "talked about it}, but <c> {did not give up|was full of hope|smiled}.",
                          c=call))  # fmt: skip
    lines.append(f"{'However,' if long else 'But'} {plot['trouble']}.")
    if long:
        item = article(f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}")
        lines.append(spin(rng, "<C> {sat down|took a deep breath|looked for help|found <i>, but it was "
                               "of no use}.", C=capital(call), i=item))  # fmt: skip
    lines.append(spin(rng, "{Then|Luckily,|Just then} <a> came by and <h>.", a=article(helper),
                      h=plot["help"].replace("<o>", name or "our friend")))  # fmt: skip
    lines.append(capital(spin(rng, plot["ending"], H=call)))
    if long or rng.random() < 0.3:
        lines.append(rng.choice(_TEXTS["morals"]))
    return " ".join(lines)


def _poem(rng: random.Random) -> list[Turn]:
    topic = rng.choice(NOUNS + THEMES["animals"])
    verse = "{poem|poem|poem|rhyme|verse|song|haiku|few lines}"
    body = f"{{write|tell me|write me|make up|give me}} a {{|short |little }}{verse} about <h>"
    user = imperative(rng, body if rng.random() < 0.9 else f"a {verse} about <h>",
                      h=rng.choice([article(topic), "the " + topic, topic]))  # fmt: skip
    text = "\n".join(rng.sample(_TEXTS["couplets"], 2)).replace("<t>", topic)
    return [Turn("stories", user, text, key=f"poem {topic}", expect={"hero": topic, "words": 12})]


def _request(rng: random.Random) -> list[Turn]:
    creatures, places = _TEXTS["creatures"], _TEXTS["places"]
    hero = rng.choice(creatures if rng.random() < 0.75 else NOUNS)
    name = rng.choice(NAMES) if rng.random() < 0.6 else ""
    place, helper, trait = rng.choice(places), rng.choice(_TEXTS["helpers"]), ""
    long = rng.random() < 0.3
    if rng.random() < 0.25:
        trait = rng.choice(_TEXTS["traits"])
    phrase = rng.choice(
        [article(f"{trait} {hero}".strip()), article(f"{trait} {hero}".strip()), f"the {trait} {hero}"]
    )
    phrase = spin(rng, phrase)
    extra = rng.random()
    if extra < 0.25:
        name = rng.choice(NAMES) if rng.random() < 0.5 else capital(pseudo(rng))
        phrase += f" {rng.choice(['named', 'called'])} {name}"
    elif extra < 0.32:
        helper = rng.choice(creatures)
        phrase += f" and {article(helper)}"
    elif extra < 0.38:
        phrase += f" in {place}"
    asks = _TEXTS["long_asks"] if long else _TEXTS["asks"]
    user = imperative(rng, rng.choice(asks), h=phrase)
    answer = _story(rng, hero, name, place, helper, long, trait)
    key = f"story {hero} {trait}" if extra < 0.25 or extra >= 0.38 else f"story {norm(phrase)}"
    return [Turn("stories", user, answer, key, {"hero": hero, "words": 30}, verbatim=extra < 0.25)]


def _sample(rng: random.Random) -> list[Turn]:
    roll = rng.random()
    if roll < 0.17:
        return _poem(rng)
    if roll < 0.80:
        return _request(rng)
    turns: list[Turn] = []
    for ask in (rng.choice(_TEXTS["open_asks"]), rng.choice(_ANOTHER))[: 1 + (rng.random() < 0.3)]:
        name = rng.choice(NAMES) if rng.random() < 0.7 else ""
        text = _story(rng, rng.choice(_TEXTS["creatures"]), name, rng.choice(_TEXTS["places"]),
                      rng.choice(_TEXTS["helpers"]), rng.random() < 0.4)  # fmt: skip
        user = ask if turns else imperative(rng, ask)
        turns.append(Turn("stories", user, text, expect={"hero": "", "words": 30}))
    return turns


def _check(turn: Turn, answer: str) -> bool:
    """Long enough, about the hero asked for, and finished."""
    enough = len(answer.split()) >= turn.expect["words"]
    return enough and norm(turn.expect["hero"]) in norm(answer) and answer.strip()[-1:] in (".", "!", "?")


SKILL = Skill("stories", _sample, _check)
