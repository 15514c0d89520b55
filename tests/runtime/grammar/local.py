"""Grammars compiled here and now, without a process; and a vocabulary of bytes and a few longer tokens."""

from concurrent.futures import Future

import numpy as np

from penstock.core.request import GrammarSpec
from penstock.runtime.grammar.backends import open_backend
from penstock.runtime.grammar.protocol import GrammarError
from penstock.runtime.grammar.vocabulary import Vocabulary

LONGER = (
    b'{"',
    b'":',
    b'"}',
    b"true",
    b"false",
    b"null",
    b"12",
    b"ab",
    b', "',
    b"</think>",
    b">{",
    b"> \n",
    b"\xed\xa0\x80",
)
EOS = 256
PADDED = 320


def byte_vocabulary(size=PADDED, stop_ids=(EOS,)):
    tokens = [bytes((i,)) for i in range(256)] + [b""] + list(LONGER) + [b""]
    special = len(tokens) - 1
    tokens += [b""] * (size - len(tokens))
    return Vocabulary(tuple(tokens), {special: b"<|call|>"}, stop_ids)


def spec(kind, text="", **more):
    return GrammarSpec(kind=kind, text=text, **more)


class LocalGrammars:
    """What an executor needs of a `GrammarService`."""

    def __init__(self, vocabulary, backend="xgrammar"):
        self.vocabulary = vocabulary
        self.backend = open_backend(backend, vocabulary)
        self.made = {}

    def compile(self, of):
        future = Future()
        try:
            key = (of.kind, of.text, of.strict)
            if key not in self.made:
                self.made[key] = self.backend.load(of, self.backend.compile(of))
            future.set_result(self.made[key])
        except GrammarError as error:
            future.set_exception(error)
        return future

    def find(self, of):
        return self.made.get((of.kind, of.text, of.strict))

    def close(self):
        pass


def allowed(matcher, vocabulary):
    """Ids that may come next."""
    mask = np.zeros(-(-vocabulary.size // 32), np.int32)
    matcher.fill(mask)
    return set(
        np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")[: vocabulary.size]).tolist()
    )


def texts(matcher, vocabulary):
    """Their texts; the stop id's is None."""
    return {
        vocabulary.tokens[i] if i not in vocabulary.stop_ids else None for i in allowed(matcher, vocabulary)
    }


def feed(matcher, text):
    """Accept a text byte by byte; False at the first that is refused."""
    return all(matcher.accept(byte) for byte in text)
