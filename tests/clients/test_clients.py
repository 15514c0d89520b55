"""The clients that install in seconds, and the others where `make clients` has prepared them."""

import importlib.util
import subprocess

import pytest

from tests.clients.environments import CLIENTS, NoEnvironment, here, prepare
from tests.clients.serving import penstock_serve

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def url():
    with penstock_serve() as url:
        yield url


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_client(request, tmp_path, client):
    if client.light and not client.node and importlib.util.find_spec(client.needs[0]):
        command, folder = here, tmp_path
    elif client.light or client.ready:
        try:
            prepare(client)
        except NoEnvironment as exc:
            pytest.skip(str(exc))
        command, folder = type(client).command, client.home
    else:
        pytest.skip(f"`make clients ARGS='--only {client.name}'` makes the environment that this needs")
    url = request.getfixturevalue("url")
    done = subprocess.run(command(client, url), cwd=folder, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
