"""What the server prints when it is up: address, memory plan, decisions, and a request to copy and paste."""

from __future__ import annotations

import json
import shlex
import socket
from collections.abc import Iterable
from typing import NamedTuple, Self

from penstock.frontend.async_engine import AsyncEngine
from penstock.server.service import package_version


class Address(NamedTuple):
    """Where a server can be reached from this machine."""

    url: str
    unix: str = ""
    """Path of the socket to connect to in place of the URL's host."""

    @classmethod
    def of(cls, sock: socket.socket, *, secure: bool = False) -> Self:
        """Return the address of a bound socket; wildcards are shown as localhost."""
        scheme = "https" if secure else "http"
        if sock.family == socket.AF_UNIX:
            return cls(f"{scheme}://localhost", sock.getsockname())
        host, port = sock.getsockname()[:2]
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return cls(f"{scheme}://{shown}:{port}")


def banner(engine: AsyncEngine, model: str, address: Address) -> str:
    """Return the text.

    Args:
        engine: running.
        model: served name.
        address: where it listens.
    """
    url = address.url
    chat = engine.tokenizer.has_chat_template
    where = (
        f"the socket {address.unix}" if address.unix else f"{url}  (try it and watch it there in a browser)"
    )
    parts = [
        *_section("Memory plan", engine.info.plan),
        *_section("Decisions", engine.info.decisions),
        *_section("Mind", engine.info.cautions),
        f"Penstock {package_version()} serves '{model}' at {where}",
        f"API description: {url}/docs",
        "",
        "Try it:",
        _curl(address, model, chat),
        "",
        *([] if address.unix else ["or in Python:", _python(url, model, chat), ""]),
        "Ctrl-C finishes what runs and stops.",
    ]
    return "\n".join(parts)


def _section(title: str, lines: Iterable[str]) -> list[str]:
    shown = [f"  {line}" for line in lines]
    return [f"{title}:", *shown, ""] if shown else []


def _ask(model: str, chat: bool) -> dict[str, object]:
    if chat:
        return {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    return {"model": model, "prompt": "Once upon a time", "max_tokens": 32}


def _curl(address: Address, model: str, chat: bool) -> str:
    path = "/v1/chat/completions" if chat else "/v1/completions"
    body = json.dumps(_ask(model, chat)).replace("'", "'\\''")
    to = f"--unix-socket {shlex.quote(address.unix)} " if address.unix else ""
    return f"  curl -N {to}{address.url}{path} -H 'Content-Type: application/json' \\\n    -d '{body}'"


def _python(url: str, model: str, chat: bool) -> str:
    head = f'  from openai import OpenAI\n  client = OpenAI(base_url="{url}/v1", api_key="none")\n'
    if not chat:
        call = f'client.completions.create(model="{model}", prompt="Once upon a time", max_tokens=32)'
        return head + f"  print({call}.choices[0].text)"
    messages = '[{"role": "user", "content": "Hello!"}]'
    call = f'client.chat.completions.create(model="{model}", messages={messages}, stream=True)'
    return (
        head
        + f"  for chunk in {call}:\n"
        + '      print(chunk.choices[0].delta.content or "", end="", flush=True)'
    )
