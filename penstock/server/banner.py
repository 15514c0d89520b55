"""What the server prints when it is up: address, memory plan, decisions, and a request to copy and paste."""

from __future__ import annotations

import json
from collections.abc import Iterable

from penstock.frontend.async_engine import AsyncEngine
from penstock.server.service import package_version


def banner(engine: AsyncEngine, model: str, host: str, port: int) -> str:
    """Return the text.

    Args:
        engine: running.
        model: served name.
        host: address that is listened on; wildcards are shown as localhost.
        port: port that is listened on.
    """
    url = base_url(host, port)
    chat = engine.tokenizer.has_chat_template
    parts = [
        *_section("Memory plan", engine.info.plan),
        *_section("Decisions", engine.info.decisions),
        *_section("Mind", engine.info.cautions),
        f"Penstock {package_version()} serves '{model}' at {url}  (API description: {url}/docs)",
        "",
        "Try it:",
        _curl(url, model, chat),
        "",
        "or in Python:",
        _python(url, model, chat),
        "",
        "Ctrl-C finishes what runs and stops.",
    ]
    return "\n".join(parts)


def base_url(host: str, port: int) -> str:
    """Return the address to type on this machine."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    shown = [f"  {line}" for line in lines]
    return [f"{title}:", *shown, ""] if shown else []


def _ask(model: str, chat: bool) -> dict[str, object]:
    if chat:
        return {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    return {"model": model, "prompt": "Once upon a time", "max_tokens": 32}


def _curl(url: str, model: str, chat: bool) -> str:
    path = "/v1/chat/completions" if chat else "/v1/completions"
    body = json.dumps(_ask(model, chat)).replace("'", "'\\''")
    return f"  curl -N {url}{path} -H 'Content-Type: application/json' \\\n    -d '{body}'"


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
