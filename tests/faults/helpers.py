"""A client of an engine process that counts what each request gets."""

import asyncio
from contextlib import asynccontextmanager

from penstock.config.settings import Config, ModelConfig, ServerConfig, StructuredConfig
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.client import ClientOptions, InprocClient, ProcessClient
from penstock.engine.supervisor import RestartPolicy

FAST = ClientOptions(stop_grace=2.0, restart=RestartPolicy(first_delay=0.01))


class Ends:
    """Collects tokens and ends by id."""

    def __init__(self):
        self.tokens, self.ends = {}, {}
        self._news = asyncio.Event()

    def __call__(self, outputs):
        for out in outputs:
            self.tokens[out.request_id] = self.tokens.get(out.request_id, 0) + len(out.tokens)
            if out.finish is not None:
                self.ends.setdefault(out.request_id, []).append(out.finish)
        self._news.set()

    async def until(self, condition, seconds=20.0):
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def started(self, *ids):
        await self.until(lambda: all(self.tokens.get(i) for i in ids))

    async def ended(self, *ids):
        await self.until(lambda: all(i in self.ends for i in ids))


@asynccontextmanager
async def running(folder, *, watchdog=0.0, inproc=False, options=FAST):
    config = Config(
        model=ModelConfig(model=str(folder)),
        server=ServerConfig(watchdog_timeout=watchdog, warm_spare=False),
        structured=StructuredConfig(grammar_preload=False),
    )
    client = (InprocClient if inproc else ProcessClient)(config, "tests.faults.engines:build", options)
    ends = Ends()
    try:
        await client.start(ends)
        yield client, ends
    finally:
        await client.close()


def spec(name, prompt=(1, 2, 3), max_tokens=900):
    return RequestSpec(
        id=name,
        prompt_ids=tuple(prompt),
        sampling=SamplingParams(temperature=0.0, max_tokens=max_tokens, ignore_eos=True),
    )


async def until_ready(client, seconds=20.0):
    async with asyncio.timeout(seconds):
        while not client.is_alive():
            await asyncio.sleep(0.01)
