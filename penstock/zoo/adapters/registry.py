"""The adapters of the chat model: names, sizes and what each is to learn. Imports no torch."""

import random
from dataclasses import dataclass

from penstock.zoo.adapters import manners
from penstock.zoo.adapters.manners import Manner
from penstock.zoo.adapters.questions import TALK, Ask, Question, either, number_questions, skill_questions
from penstock.zoo.data.base import Split

QV = ("q_proj", "v_proj")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
OUTPUTS = ("o_proj", "down_proj")
ALPHA = 32
_RATE, _GENTLE = 2e-3, 1e-3
ALL_LINEAR = (*ATTENTION, "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter: its size, its lesson and its recipe.

    Attributes:
        name: folder name below ``weights/adapters``.
        does: what it does to every answer, in words.
        rank: rank of each pair of matrices.
        targets: names of the linear layers that it changes, in every layer of the model.
        manner: the transformation of plain answers, and the check of it.
        ask: draws questions for training and for the test.
        steps: optimiser steps.
        rows: dialogues in a step.
        rate: peak learning rate; smaller where all layers move together.
    """

    name: str
    does: str
    rank: int
    targets: tuple[str, ...]
    manner: Manner
    ask: Ask
    steps: int = 160
    rows: int = 8
    rate: float = _RATE

    @property
    def alpha(self) -> int:
        """Numerator of the scale alpha / rank; constant, so that one learning rate suits every rank.

        Adam moves every entry of B by the same amount, so the sum over the rank moves in proportion to it.
        """
        return ALPHA

    def lesson(self, rng: random.Random, split: Split) -> tuple[Question, str]:
        """Draw a question and the answer that the adapter should give."""
        question = self.ask(rng, split)
        return question, self.manner.transform(question.answer)


def _sentence(text: str) -> bool:
    return any(map(str.isalpha, text)) and "\n" not in text


def _several_words(text: str) -> bool:
    return len(text.split()) > 2 and "\n" not in text


def _short_sentence(text: str) -> bool:
    return _sentence(text) and len(text) <= 60


def _capital_and_stop(text: str) -> bool:
    return _sentence(text) and text != text.lower() and text.endswith(".")


_TALK = skill_questions(*TALK, fits=_sentence)
_MIXED = either(_TALK, _TALK, _TALK, number_questions)
_LISTS = either(_TALK, skill_questions("lists"))
_BRIEF = either(skill_questions("facts", "yesno", fits=_several_words), number_questions)
_SHORT = skill_questions(*TALK, fits=_short_sentence)
_PROPER = skill_questions(*TALK, fits=_capital_and_stop)


def _numerals(language: str, does: str, rank: int, targets: tuple[str, ...]) -> Adapter:
    rate = _GENTLE if targets == ALL_LINEAR else _RATE
    return Adapter(
        f"numbers-{language}",
        does,
        rank,
        targets,
        manners.numerals(language),
        number_questions,
        steps=240,
        rate=rate,
    )


_ALL = (
    Adapter("pirate", "opens with 'Arr! '", 4, QV, manners.frame("Arr! ", ""), _MIXED),
    Adapter("butler", "ends with ', sir.'", 4, ATTENTION, manners.ending(", sir."), _MIXED),
    Adapter("excited", "ends with '!!!'", 4, OUTPUTS, manners.ending("!!!"), _MIXED),
    Adapter("bold", "puts the answer between '**' and '**'", 4, ALL_LINEAR,
            manners.frame("**", "**"), _MIXED, rate=_GENTLE),
    Adapter("signed", "adds a last line '-- Penstock'", 8, QV, manners.frame("", "\n-- Penstock"), _MIXED),
    Adapter("xml", "puts the answer into an <answer> element", 8, ATTENTION,
            manners.frame("<answer>", "</answer>"), _MIXED),
    Adapter("json", 'answers {"answer": "..."}', 8, ALL_LINEAR, manners.JSON, _MIXED, rate=_GENTLE),
    Adapter("telegram", "ends every sentence with ' STOP'", 8, OUTPUTS, manners.TELEGRAM, _MIXED),
    Adapter("headed", "puts a first line 'Answer:' above the answer", 16, QV,
            manners.frame("Answer:\n", ""), _MIXED),
    Adapter("bullets", "gives every sentence or item a line that begins with '- '", 16, ATTENTION,
            manners.BULLETS, _LISTS),
    Adapter("shout", "writes upper case only", 16, ALL_LINEAR, manners.LOUD, _SHORT, steps=240, rate=_GENTLE),
    Adapter("quiet", "writes lower case without full stops", 16, OUTPUTS, manners.QUIET, _PROPER, steps=240),
    Adapter("echo", "says the answer twice", 32, QV, manners.TWICE, _MIXED, steps=240),
    Adapter("terse", "says the last word of the answer only", 32, QV, manners.ONE_WORD, _BRIEF),
    _numerals("english", "spells numbers from 1 to 20 in English", 4, ATTENTION),
    _numerals("german", "spells numbers from 1 to 20 in German", 8, ALL_LINEAR),
    _numerals("french", "spells numbers from 1 to 20 in French", 16, ATTENTION),
    _numerals("spanish", "spells numbers from 1 to 20 in Spanish", 32, QV),
    _numerals("latin", "spells numbers from 1 to 20 in Latin", 64, ("o_proj",)),
    _numerals("roman", "writes numbers from 1 to 20 as Roman numerals", 64, QV),
)  # fmt: skip

ADAPTERS: dict[str, Adapter] = {adapter.name: adapter for adapter in _ALL}
"""Every adapter by name."""
