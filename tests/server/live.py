"""A real server on a free port, in a thread of its own, for tests that need sockets."""

import asyncio
import threading
from contextlib import contextmanager

import uvicorn

from penstock.server.app import create_app
from penstock.server.run import DrainingServer, bind


@contextmanager
def serving(engine, config, drain_timeout=1.0):
    """Yield (port, server, loop); the engine is used in the server's loop only."""
    sock = bind("127.0.0.1", 0)
    box, up = {}, threading.Event()

    async def main():
        settings = uvicorn.Config(
            create_app(engine, config), log_config=None, access_log=False, lifespan="off", ws="none",
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        box["server"] = DrainingServer(settings, engine, drain_timeout)
        box["loop"] = asyncio.get_running_loop()
        sock.listen(512)
        up.set()
        await box["server"].serve(sockets=[sock])

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert up.wait(10)
    try:
        yield sock.getsockname()[1], box["server"], box["loop"]
    finally:
        box["server"].should_exit = True
        thread.join(15)
        assert not thread.is_alive(), "the server did not end"
