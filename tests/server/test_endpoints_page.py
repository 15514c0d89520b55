"""docs/endpoints.md names every endpoint, and no other."""

import re
from pathlib import Path

from penstock.server.app import create_app

PAGE = Path(__file__).parents[2] / "docs" / "endpoints.md"


def test_the_page_names_every_endpoint(engine, config):
    described = {
        (method.upper(), path.replace(":path", ""))
        for path, methods in create_app(engine, config).openapi()["paths"].items()
        for method in methods
    }
    table = PAGE.read_text(encoding="utf-8").split("## Fields of every")[0]
    named = set(re.findall(r"`(GET|POST|DELETE|PUT) (/[^`]*)`", table))
    assert described <= named
    assert named - described == {("GET", "/ping")}  # answers like /health; kept out of the description
