"""What a grammar backend is. Two are built in; see `backends.open_backend`.

Legend: W int32 words of a mask, ceil(vocabulary / 32); bit i of the mask (little end first) allows token i.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.core.request import GrammarSpec

Mask = NDArray[np.int32]


class GrammarError(Exception):
    """A grammar that cannot be used; the text says why and is fit to be shown to who sent it."""


class Matcher(Protocol):
    """Where one sequence stands in its grammar. One thread at a time."""

    def fill(self, mask_W: Mask) -> None:
        """Write which tokens may come next; stop ids are among them exactly when the grammar may end."""
        ...

    def accept(self, token: int) -> bool:
        """Go on by a token; False, with nothing changed, if the grammar does not allow it."""
        ...

    def rollback(self, count: int) -> None:
        """Take the last ``count`` accepted tokens back."""
        ...

    def fork(self) -> Matcher:
        """Return an independent copy."""
        ...

    def is_terminated(self) -> bool:
        """Whether a stop id was accepted: nothing follows."""
        ...

    def forced(self) -> bytes:
        """Return the text that must come next whatever is chosen; may be shorter than it could be."""
        ...


class Grammar(Protocol):
    """A compiled grammar; shared by all sequences that follow it."""

    nbytes: int
    """What it holds of memory, about."""

    def matcher(self) -> Matcher:
        """Return a matcher at the beginning."""
        ...


class Backend(Protocol):
    """Compiles grammars for one vocabulary.

    `compile` runs in a process that may be killed, `load` in the engine, on a thread beside its loop.
    """

    name: str

    def compile(self, spec: GrammarSpec) -> bytes:
        """Compile, and return what `load` needs to have the same grammar cheaply.

        Raises:
            GrammarError: the text is malformed or asks for what the backend cannot do.
        """
        ...

    def load(self, spec: GrammarSpec, compiled: bytes) -> Grammar:
        """Return the grammar of a spec that `compile` accepted."""
        ...
