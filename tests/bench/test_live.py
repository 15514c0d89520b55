"""Drivers of the simulator run on real engines: same calls, real seconds."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "frontend"), str(TESTS / "engine_boundary")]

import fake_engine
from tokenizers_for_tests import fast

from penstock.bench.live import LiveWorld
from penstock.config.settings import Config, ModelConfig, ServerConfig
from penstock.core.request import SLO, Turn
from penstock.frontend.async_engine import AsyncEngine
from penstock.workload.driver import OpenLoop
from penstock.workload.metrics.collector import Collector
from penstock.workload.request import Span, TraceRequest

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def folder(tmp_path):
    fast().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


async def start(folder, build="build"):
    config = Config(model=ModelConfig(model=str(folder)), server=ServerConfig(inproc=True))
    return await AsyncEngine.start(config, build=f"fake_engine:{build}")


def request(number, arrival=0.0, output=4, prompt=9, **fields):
    return TraceRequest(
        id=f"r{number}", arrival=arrival, prompt=(Span(number + 1, prompt),), output_tokens=output, **fields
    )


class Chain:
    """Three requests, each sent a while after the one before was answered."""

    def __init__(self):
        self.results = []

    def begin(self, world):
        world.submit(request(0, program="p", turn=Turn(index=0)))

    def served(self, result, world):
        self.results.append(result)
        n = len(self.results)
        if n < 3:
            later = request(n, world.now() + 0.05, program="p", turn=Turn(index=n, last=n == 2))
            world.at(world.now() + 0.02, lambda: world.submit(later))


async def test_a_driver_reacts_and_the_collector_sees_it(folder):
    driver, collector = Chain(), Collector("exact")
    async with await start(folder) as engine:
        took = await LiveWorld([engine], driver, collector).run(30)
    vocab = fake_engine.VOCAB
    assert [r.request.id for r in driver.results] == ["r0", "r1", "r2"]
    for number, result in enumerate(driver.results):
        assert result.ok and result.tokens == fake_engine.expected(request(number).prompt_ids(vocab), 4)
        assert result.arrival <= result.first_token <= result.finished <= took
    assert driver.results[1].arrival >= driver.results[0].finished + 0.05
    figures = collector.summary()
    assert figures["completed"] == 3 and figures["jobs"] == 1 and not collector.live


async def test_engines_take_turns_and_refusals_reach_the_driver(folder):
    driver, results = (
        OpenLoop([request(n, 0.001 * n) for n in range(4)] + [request(9, 0.01, prompt=2000)]),
        [],
    )
    driver.served = lambda result, world: results.append(result)
    collector = Collector()
    async with await start(folder) as one, await start(folder) as two:
        world = LiveWorld([one, two], driver, collector)
        await world.run(30)
        submitted = [(await engine.stats()).submitted for engine in (one, two)]
    assert submitted == [2, 2]
    failed = [r for r in results if not r.ok]
    assert [r.request.id for r in failed] == ["r9"] and "token" in failed[0].detail
    assert len(results) == 5 and all(replica.outstanding == 0 for replica in world.replicas)


async def test_a_deadline_that_has_passed_is_still_served(folder):
    driver, results = OpenLoop([request(0, slo=SLO(deadline=-3.0)), request(1, slo=SLO(ttft=1.0))]), []
    driver.served = lambda result, world: results.append(result)
    async with await start(folder) as engine:
        await LiveWorld([engine], driver).run(30)
    assert [result.ok for result in results] == [True, True]


async def test_what_a_driver_raises_ends_the_run_and_so_does_the_limit(folder):
    def broken(result, world):
        raise ValueError("driver is at fault")

    driver = OpenLoop([request(0), request(1, 60.0)])
    driver.served = broken
    async with await start(folder) as engine:
        with pytest.raises(ValueError, match="at fault"):
            await LiveWorld([engine], driver).run(30)
        with pytest.raises(TimeoutError):
            await LiveWorld([engine], OpenLoop([request(0, 60.0)])).run(0.05)
