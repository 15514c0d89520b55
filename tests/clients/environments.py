"""An environment per client: they disagree about versions, and some weigh more than the engine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("PENSTOCK_CLIENTS") or Path.home() / ".cache" / "penstock" / "clients")


class NoEnvironment(Exception):
    """A client cannot be installed here; says why."""


@dataclass(frozen=True)
class Client:
    """A client, the script that exercises it, and what to install for it."""

    name: str
    script: str
    needs: tuple[str, ...]
    light: bool = False
    """Installs in seconds, so that the test suite may do it."""

    @property
    def home(self) -> Path:
        """Folder of its environment."""
        return CACHE / self.name

    @property
    def node(self) -> bool:
        """Whether it is JavaScript."""
        return self.script.endswith(".mjs")

    @property
    def ready(self) -> bool:
        """Whether its environment was made to the end."""
        return (self.home / "ready").exists()

    def command(self, url: str) -> list[str]:
        """Return what runs the script, in `home`."""
        interpreter = "node" if self.node else str(self.home / "bin" / "python")
        return [interpreter, str(HERE / self.script), "--base-url", url]


CLIENTS = (
    Client("openai-python", "openai_python.py", ("openai",), light=True),
    Client("openai-node", "openai_node.mjs", ("openai",), light=True),
    Client("anthropic", "anthropic_python.py", ("anthropic",), light=True),
    Client("litellm", "litellm_python.py", ("litellm", "mcp")),
    Client("langchain-openai", "langchain_python.py", ("langchain-openai",)),
    Client("lm-eval", "lm_eval_python.py", ("lm-eval[api]",)),
)


def prepare(client: Client, upgrade: bool = False) -> None:
    """Make the environment of a client, unless it is there.

    Args:
        client: which.
        upgrade: take the newest versions.

    Raises:
        NoEnvironment: a tool or the network is missing.
    """
    if client.ready and not upgrade:
        return
    client.home.mkdir(parents=True, exist_ok=True)
    if client.node:
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise NoEnvironment("npm or node is not installed")
        packages = [f"{name}@latest" for name in client.needs]
        _run(["npm", "install", "--no-audit", "--no-fund", "--prefix", str(client.home), *packages])
    else:
        python = client.home / "bin" / "python"
        if not python.exists():
            venv.create(client.home, with_pip=True)
        _run([str(python), "-m", "pip", "install", "--quiet", "--upgrade", *client.needs])
    (client.home / "ready").touch()


def here(client: Client, url: str) -> list[str]:
    """Return what runs a Python client's script in the environment that we run in."""
    return [sys.executable, *client.command(url)[1:]]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    except subprocess.TimeoutExpired as exc:
        raise NoEnvironment(f"{command[0]} took more than {exc.timeout:g} s") from None
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise NoEnvironment(f"{Path(command[0]).name} failed: {' '.join(last)[:300]}")
