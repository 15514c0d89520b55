"""A real server on a free port, in a thread of its own, for tests that need sockets."""

import threading
from contextlib import contextmanager

import uvicorn

from penstock.frontend.async_engine import AsyncEngine
from penstock.server.app import create_app
from penstock.server.http import http_settings
from penstock.server.http import run as run_loop
from penstock.server.listen import bind
from penstock.server.run import DrainingServer


@contextmanager
def serving(engine, config, drain_timeout=1.0, build=""):
    """Yield (port, server, engine); the engine is used in the server's loop only.

    ``engine`` may be None: a real one is then started from ``config``.
    """
    sock = bind("127.0.0.1", 0)
    box, up = {}, threading.Event()

    async def main():
        nonlocal engine
        try:
            real = engine is None
            if real:
                engine = await AsyncEngine.start(config, build=build)
            await run(real)
        except BaseException as exc:
            box["failure"] = exc
            up.set()
            raise

    async def run(real):
        settings = uvicorn.Config(
            create_app(engine, config), **http_settings(config.server),
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        box["server"] = DrainingServer(settings, engine, drain_timeout)
        sock.listen(512)
        up.set()
        try:
            await box["server"].serve(sockets=[sock])
        finally:
            if real:
                await engine.close()

    thread = threading.Thread(target=lambda: run_loop(main()), daemon=True)
    thread.start()
    assert up.wait(60), "the server did not start"
    if "failure" in box:
        raise RuntimeError("the server did not start") from box["failure"]
    try:
        yield sock.getsockname()[1], box["server"], engine
    finally:
        box["server"].should_exit = True
        thread.join(15)
        assert not thread.is_alive(), "the server did not end"
