"""Prompts are scored in batches, off the event loop, and a ranker's fault costs nobody the answer."""

import asyncio
import threading

from penstock.frontend.scoring import Scorer


class Ranker:
    seconds, scored = 0.0, 0

    def __init__(self, fail=False):
        self.batches, self.fail = [], fail
        self.gate = threading.Event()

    def score(self, prompts):
        assert threading.current_thread().name.startswith("penstock-rank")
        self.gate.wait(5)
        self.batches.append(len(prompts))
        self.scored += len(prompts)
        if self.fail:
            raise RuntimeError("broken")
        return [float(len(prompt)) for prompt in prompts]


async def ask(ranker, sizes):
    scorer = Scorer(ranker)
    first = asyncio.ensure_future(scorer.score((1,) * sizes[0]))
    await asyncio.sleep(0.01)  # the first batch is under way; the others gather behind it
    rest = [asyncio.ensure_future(scorer.score((1,) * size)) for size in sizes[1:]]
    await asyncio.sleep(0.01)
    if len(rest) > 2:
        rest[1].cancel()
    ranker.gate.set()
    found = await asyncio.gather(first, *rest, return_exceptions=True)
    scorer.close()
    return found


def test_who_comes_while_a_batch_is_scored_makes_up_the_next():
    ranker = Ranker()
    assert asyncio.run(ask(ranker, [3, 5])) == [3.0, 5.0]
    assert ranker.batches == [1, 1]
    ranker = Ranker()
    found = asyncio.run(ask(ranker, [3, 5, 7, 9]))
    assert [found[0], found[1], found[3]] == [3.0, 5.0, 9.0]
    assert isinstance(found[2], asyncio.CancelledError)
    assert ranker.batches == [1, 3]


def test_a_fault_leaves_requests_without_a_score():
    assert asyncio.run(ask(Ranker(fail=True), [3, 5])) == [None, None]
