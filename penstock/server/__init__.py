"""The HTTP server: OpenAI's API in front of `AsyncEngine`. See README.md in this folder."""

from penstock.server.app import create_app
from penstock.server.run import run_server

__all__ = ["create_app", "run_server"]
