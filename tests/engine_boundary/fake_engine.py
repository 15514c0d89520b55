"""Builders of real `EngineCore`s around the fake executor, to be run in a thread or in a child process."""

import os
import time

import msgspec

from penstock.core.errors import ConfigError
from penstock.core.executor import ExecutorSpec
from penstock.engine.build import Built, assemble
from penstock.testing.fake_executor import FakeExecutor, next_token

VOCAB = 380
SPEC = ExecutorSpec(slots=64, blocks=512, page_size=16, max_model_len=1024, vocab_size=VOCAB)


def expected(prompt_ids, count, vocab=VOCAB):
    """What the fake model says after a prompt."""
    tokens = list(prompt_ids)
    for _ in range(count):
        tokens.append(next_token(tokens, vocab))
    return tuple(tokens[len(prompt_ids) :])


class SlowExecutor(FakeExecutor):
    """A step takes a moment, so that requests are live long enough to be interrupted."""

    seconds = 0.002

    def collect(self, ticket):
        time.sleep(self.seconds)
        return super().collect(ticket)


def _built(config, executor):
    built = assemble(config, executor)
    return Built(built.core, msgspec.structs.replace(built.info, plan=("a plan line",)))


def build(config, report):
    report("building the fake engine")
    return _built(config, FakeExecutor(SPEC))


def build_slow(config, report):
    return _built(config, SlowExecutor(SPEC))


def build_poisoned(config, report):
    return _built(config, SlowExecutor(SPEC, poison=frozenset({"poisoned"})))


class BrokenExecutor(SlowExecutor):
    """Fails as no executor should once a sequence with the fatal token runs: the engine cannot go on."""

    def submit(self, plan):
        if any(666 % VOCAB in init.tokens for init in plan.admits):
            raise RuntimeError("the device fell off the bus")
        return super().submit(plan)


def build_broken(config, report):
    return _built(config, BrokenExecutor(SPEC))


def build_refusing(config, report):
    raise ConfigError("cache.kv_cache_memory_bytes", "needs at least 123 bytes")


def build_failing(config, report):
    raise ValueError("nothing fits")


def build_killed(config, report):
    os.kill(os.getpid(), 9)


def build_hanging(config, report):
    """Boots the first time (the marker is not there yet), hangs ever after."""
    marker = config.model.model
    if os.path.exists(marker):
        report("and now it hangs")
        time.sleep(3600)
    open(marker, "w").close()
    return _built(config, BrokenExecutor(SPEC))


def build_once(config, report):
    """Boots the first time only."""
    marker = config.model.model
    if os.path.exists(marker):
        raise ValueError("cannot boot twice")
    open(marker, "w").close()
    return _built(config, SlowExecutor(SPEC))
