"""A drive with a fresh matcher before it may serve: following a grammar must take bounded time per token.

Compiling quickly proves nothing: ``((a{1,100}){1,100}){1,100}`` compiles in a millisecond and then takes
half a second a token, for it can read the same text in a million ways. Nothing can interrupt a matcher, so
such a grammar is found out here, in a process that can be killed.
"""

from __future__ import annotations

import random
import time

import numpy as np

from penstock.runtime.grammar.protocol import Grammar, GrammarError, Matcher

STEPS = 96
"""Tokens of one drive."""
SLOWEST = 0.02
"""CPU seconds that a token may take in the middle of the slowest stretch (0.0001 is usual)."""
_STRETCH = 8


def try_out(grammar: Grammar, vocab_size: int, stop_ids: tuple[int, ...]) -> None:
    """Drive three ways: at random, and with a token (any, the last) as long as it is allowed.

    Raises:
        GrammarError: nothing at all is allowed at the start, or tokens take too long.
    """
    for way in ("random", "same", "last"):
        _drive(grammar.matcher(), way, vocab_size, stop_ids)


def _drive(matcher: Matcher, way: str, vocab_size: int, stop_ids: tuple[int, ...]) -> None:
    rng, mask_W = random.Random(0), np.zeros(-(-vocab_size // 32), np.int32)
    times: list[float] = []
    token = -1
    for step in range(STEPS):
        began = time.process_time()
        matcher.fill(mask_W)
        allowed_V = np.unpackbits(mask_W.view(np.uint8), bitorder="little")[:vocab_size]
        filled = time.process_time()
        if step == 0 and not allowed_V.any():
            raise GrammarError("no text at all belongs to it")
        allowed_V[list(stop_ids)] = 0
        ids = np.flatnonzero(allowed_V)
        if not len(ids):
            return
        if way == "random" or token < 0 or not allowed_V[token]:
            token = int(ids[-1]) if way == "last" else int(ids[rng.randrange(len(ids))])
        again = time.process_time()
        matcher.accept(token)
        times.append(filled - began + time.process_time() - again)
        if len(times) >= _STRETCH and sorted(times[-_STRETCH:])[_STRETCH // 2] > SLOWEST:
            raise GrammarError("it is too ambiguous: each token of an answer would take too long to check")
