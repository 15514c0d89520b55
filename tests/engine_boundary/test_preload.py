"""A server has the compiler of grammars loaded once it is ready, if the settings say so."""

from concurrent.futures import Future

import pytest
from fake_engine import SPEC

from penstock.config.settings import Config, StructuredConfig
from penstock.engine.build import assemble
from penstock.engine.client import InprocClient
from penstock.testing.fake_executor import FakeExecutor

asked: list[str] = []


class Compiler:
    def compile(self, spec):
        asked.append(spec.kind)
        return Future()  # never done


def build(config, report):
    executor = FakeExecutor(SPEC)
    executor.grammars = Compiler()
    return assemble(config, executor)


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.anyio
async def test_the_compiler_is_asked_once_if_at_all(preload):
    asked.clear()
    config = Config(structured=StructuredConfig(grammar_preload=preload))
    client = InprocClient(config, f"{__name__}:build")
    await client.start(lambda outputs: None)
    await client.stats()  # the engine serves, whatever becomes of the compiler
    await client.close()
    assert asked == ["json_object"] * preload
