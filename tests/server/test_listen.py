"""Where the server listens: Unix sockets, TLS, and what is read again while it runs."""

import asyncio
import logging
import os
import shutil
import signal
import ssl
from pathlib import Path

import httpx
import msgspec
import pytest
import uvicorn

from penstock.core.errors import ConfigError
from penstock.server.app import create_app
from penstock.server.banner import Address
from penstock.server.http import http_settings
from penstock.server.keystore import KeyStore
from penstock.server.listen import bind, bind_unix, close_socket, open_socket, tls_settings
from penstock.server.run import DrainingServer
from penstock.server.upkeep import Upkeep
from tests.server.fakes import CONFIG, FakeEngine

PEM = Path(__file__).parent / "data" / "localhost.pem"
"""A self-signed certificate for localhost with its key, made for these tests."""


def settings(**changes):
    return msgspec.structs.replace(CONFIG.server, **changes)


async def ask(server_settings, client_settings, path="/version"):
    """Serve on what the settings say, and return the answer to one request of a client made as told."""
    config = msgspec.structs.replace(CONFIG, server=server_settings)
    sock = open_socket(server_settings)
    engine = FakeEngine()
    server = DrainingServer(
        uvicorn.Config(
            create_app(engine, config), **http_settings(server_settings), **tls_settings(server_settings)
        ),
        engine,
        0.1,
    )
    sock.listen(16)
    address = Address.of(sock, secure=bool(server_settings.ssl_certfile))
    running = asyncio.create_task(server._serve([sock]))
    try:
        async with httpx.AsyncClient(**client_settings(address), timeout=10) as client:
            return await client.get(address.url + path)
    finally:
        server.should_exit = True
        await running
        close_socket(sock, server_settings)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_unix_socket_is_served(tmp_path, loop):
    path = str(tmp_path / "s")
    work = ask(settings(uds=path), lambda _: {"transport": httpx.AsyncHTTPTransport(uds=path)})
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            reply = runner.run(work)
    else:
        reply = asyncio.run(work)
    assert reply.status_code == 200 and not os.path.exists(path)


def test_tls_is_spoken(tmp_path):
    trust = ssl.create_default_context(cafile=str(PEM))
    reply = asyncio.run(ask(settings(port=0, ssl_certfile=str(PEM)), lambda _: {"verify": trust}))
    assert reply.status_code == 200 and reply.url.scheme == "https"


def test_clients_without_a_certificate_are_refused_where_one_is_asked_for():
    trust = ssl.create_default_context(cafile=str(PEM))
    server = settings(port=0, ssl_certfile=str(PEM), ssl_ca_certs=str(PEM))
    with pytest.raises(httpx.HTTPError):
        asyncio.run(ask(server, lambda _: {"verify": trust}))
    own = ssl.create_default_context(cafile=str(PEM))
    own.load_cert_chain(str(PEM))
    assert asyncio.run(ask(server, lambda _: {"verify": own})).status_code == 200


def test_the_root_path_may_be_stripped_or_not():
    for path in ("/health", "/llm/health", "/llm/v1/models"):
        server = settings(port=0, root_path="/llm")
        assert asyncio.run(ask(server, lambda _: {}, path)).status_code == 200
    guarded = settings(port=0, root_path="/llm", api_key=("k",))
    assert asyncio.run(ask(guarded, lambda _: {}, "/llm/health")).status_code == 200
    assert asyncio.run(ask(guarded, lambda _: {}, "/llm/v1/models")).status_code == 401


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ssl_certfile": "/nonexistent.pem"}, "server.ssl_certfile"),
        ({"ssl_certfile": str(PEM), "ssl_keyfile": __file__}, "server.ssl_certfile"),
        ({"ssl_certfile": str(PEM), "ssl_ca_certs": __file__}, "server.ssl_ca_certs"),
        ({"ssl_keyfile": str(PEM)}, "server.ssl_keyfile"),
    ],
)
def test_bad_tls_files_are_known_before_the_model_loads(changes, field):
    with pytest.raises(ConfigError) as caught:
        tls_settings(settings(**changes))
    assert caught.value.field == field


def test_a_dead_servers_socket_is_taken_over_and_a_live_ones_or_a_file_is_not(tmp_path):
    path = str(tmp_path / "s")
    bind_unix(path).close()
    sock = bind_unix(path)
    assert os.stat(path).st_mode & 0o777 == 0o660
    sock.listen(1)
    with pytest.raises(ConfigError, match="another server"):
        bind_unix(path)
    sock.close()
    Path(tmp_path / "f").write_text("precious")
    with pytest.raises(ConfigError, match="a file of that name"):
        bind_unix(str(tmp_path / "f"))
    assert Path(tmp_path / "f").read_text() == "precious"
    with pytest.raises(ConfigError):
        bind_unix("/nonexistent/folder/s")


def test_addresses_are_shown_as_they_are_typed():
    with bind("0.0.0.0", 0) as sock:
        assert Address.of(sock).url == f"http://127.0.0.1:{sock.getsockname()[1]}"
    with bind("127.0.0.1", 0) as sock:
        assert Address.of(sock, secure=True).url == f"https://127.0.0.1:{sock.getsockname()[1]}"
    with pytest.raises(ConfigError, match=r"server\.port"):
        bind("256.0.0.1", 0)


@pytest.mark.anyio
async def test_a_hangup_reads_keys_and_certificate_again(tmp_path, caplog):
    keys, cert = tmp_path / "keys.toml", tmp_path / "cert.pem"
    keys.write_text('[[keys]]\nname = "a"\nkey = "a"')
    shutil.copy(PEM, cert)
    server = settings(keys=str(keys), ssl_certfile=str(cert))
    store = KeyStore({}, keys, None)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    caplog.set_level(logging.INFO)

    async def logged(text):
        async with asyncio.timeout(5):
            while text not in caplog.text:
                await asyncio.sleep(0.005)

    async with Upkeep(server, store, context):
        keys.write_text('[[keys]]\nname = "b"\nkey = "b"')
        os.kill(os.getpid(), signal.SIGHUP)
        await logged("the certificate was read again")
        assert store.find("b") is not None and store.find("a") is None
        cert.write_text("nonsense")
        os.kill(os.getpid(), signal.SIGHUP)
        await logged("the certificate was not taken over")


@pytest.mark.anyio
async def test_a_changed_keys_file_is_noticed(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text('[[keys]]\nname = "a"\nkey = "a"')
    store = KeyStore({}, path, None)
    watching = asyncio.create_task(store.watch(0.01))
    path.write_text('[[keys]]\nname = "another"\nkey = "b"')
    async with asyncio.timeout(5):
        while store.find("b") is None:
            await asyncio.sleep(0.005)
    watching.cancel()
