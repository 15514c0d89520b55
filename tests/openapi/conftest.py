"""A real server with a real engine on a tiny random model, and how hard to shake it.

``PENSTOCK_FUZZ=N`` asks for N examples per test in place of the few that the suite can afford (`make fuzz`).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec
import pytest

from tests.server import tiny
from tests.server.live import serving
from tests.server.test_end_to_end import tiny_config

EXAMPLES = int(os.environ.get("PENSTOCK_FUZZ", "0"))
CONTEXT = 48


def examples(few):
    """Return how many examples a test runs."""
    return EXAMPLES or few


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    """Address of a server whose model is so small that a whole context takes a fraction of a second."""
    folder = tmp_path_factory.mktemp("tiny")
    config = tiny_config(tiny.build(folder))
    template = folder / "short.jinja"
    template.write_text("{% if tools %}T{{ tools | length }}{% endif %}" + tiny.TEMPLATE)
    model = msgspec.structs.replace(config.model, max_model_len=CONTEXT, chat_template=str(template))
    with serving(None, msgspec.structs.replace(config, model=model)) as (port, _, _):
        yield f"http://127.0.0.1:{port}"
