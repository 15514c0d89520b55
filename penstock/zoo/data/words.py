"""Word lists that several skills draw from."""

from penstock.zoo.data.texts import load

_WORDS = load("words")

THEMES: dict[str, list[str]] = _WORDS["themes"]
"""Things to list, by the plural name of their kind."""

SINGULAR: dict[str, str] = _WORDS["singular"]
"""Singular of every theme."""

ALIASES: dict[str, list[str]] = _WORDS["aliases"]
"""Other plural names of some themes."""

NAMES: list[str] = _WORDS["names"]
"""People."""

NUMBER_WORDS: list[str] = _WORDS["number_words"]
"""English words of the numbers 0 to 20."""

NOUNS: list[str] = _WORDS["nouns"]
"""Common nouns for copying and stories."""

ADJECTIVES: list[str] = _WORDS["adjectives"]
"""Common adjectives."""

VERBS: list[str] = _WORDS["verbs"]
"""Intransitive verbs, third person."""
