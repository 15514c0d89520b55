"""Builders of engines around the scripted executor that fail in every way, each in its own process.

``config.model.model`` is the folder that orders come through (`penstock.executors.faults.OnCommand`).
"""

import os
import time

from penstock.core.executor import ExecutorSpec
from penstock.engine.build import assemble
from penstock.executors.faults import OnCommand
from penstock.testing.fake_executor import FakeExecutor

SPEC = ExecutorSpec(slots=64, blocks=512, page_size=16, max_model_len=1024, vocab_size=258)
KILLER = 66
"""Token that ends the engine's process when a prompt with it is computed."""


class SlowExecutor(FakeExecutor):
    def __init__(self, fault):
        super().__init__(SPEC, fault=fault)

    def submit(self, plan):
        if any(KILLER in init.tokens[: init.prompt_length] for init in plan.admits):
            os._exit(3)
        return super().submit(plan)

    def collect(self, ticket):
        time.sleep(0.002)
        return super().collect(ticket)


def build(config, report):
    return assemble(config, SlowExecutor(OnCommand(config.model.model)))
