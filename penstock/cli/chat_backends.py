"""What answers a chat: a server elsewhere, or an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.bench.client import CHAT, Target, events, explain, open_client
from penstock.bench.serve import discover
from penstock.config.settings import Config
from penstock.core.errors import PenstockError
from penstock.frontend.answers.events import (
    AnswerEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from penstock.frontend.answers.reader_set import ReaderSet, Reading
from penstock.frontend.answers.thinking import Thinking, thinking_at
from penstock.frontend.prompts import Chat
from penstock.server.tools import parsers_of

if TYPE_CHECKING:
    import httpx

    from penstock.frontend.async_engine import AsyncEngine


class ServerBackend:
    """Streams replies from an OpenAI-compatible server.

    Args:
        client: open, owned by this object.
        model: name to ask for.
    """

    def __init__(self, client: httpx.AsyncClient, model: str) -> None:
        self._client = client
        self._model = model

    @classmethod
    async def connect(cls, base_url: str, api_key: str, model: str) -> ServerBackend:
        """Find the server and, when none is named, the model to talk to.

        Raises:
            PenstockError: no OpenAI-compatible server answers there.
        """
        client = open_client(Target(base_url, api_key=api_key))
        try:
            entry = await discover(client, 0.0)
        except BaseException:
            await client.aclose()
            raise
        return cls(client, model or entry["id"])

    async def reply(
        self, messages: list[dict[str, str]], sampling: dict[str, Any]
    ) -> AsyncIterator[AnswerEvent]:
        """Yield the events of the reply.

        Raises:
            PenstockError: the server refused or failed.
        """
        import httpx

        body = {"model": self._model, "messages": messages, "stream": True, **sampling}
        try:
            async with self._client.stream("POST", CHAT, json=body) as response:
                if response.status_code != 200:
                    raise PenstockError(explain(response.status_code, await response.aread()))
                async for event in events(response):
                    if event.get("error"):
                        raise PenstockError(str(event["error"].get("message", event["error"])))
                    for choice in event.get("choices") or ():
                        for news in _events_of(choice.get("delta") or {}):
                            yield news
        except httpx.HTTPError as error:
            raise PenstockError(f"the server went away: {type(error).__name__} {error}") from None

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


class EngineBackend:
    """Streams replies from an engine in this process.

    Args:
        engine: started, owned by this object.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @classmethod
    async def load(cls, config: Config) -> EngineBackend:
        """Load the model that the configuration names.

        Raises:
            ConfigError: a setting, model folder or checkpoint cannot be used.
        """
        from penstock.frontend.async_engine import AsyncEngine

        server = msgspec.structs.replace(config.server, inproc=True)
        return cls(await AsyncEngine.start(msgspec.structs.replace(config, server=server)))

    async def reply(
        self, messages: list[dict[str, str]], sampling: dict[str, Any]
    ) -> AsyncIterator[AnswerEvent]:
        """Yield the events of the reply.

        Raises:
            PenstockError: the conversation does not fit the model, or the request failed.
        """
        reading, chat = self._read(messages)
        shown = {"shown_special_tokens": reading.control_tokens}
        readers = ReaderSet(reading, self._engine.tokenizer)
        async with await self._engine.submit(chat, {**sampling, **shown}) as stream:
            async for delta in stream:
                for output in delta.outputs:
                    for event in readers.read(output):
                        yield event
                    if output.finish_reason == "error":
                        raise PenstockError(f"the request failed: {output.detail}")

    def _read(self, messages: list[dict[str, str]]) -> tuple[Reading, Chat]:
        """Return how the reply is read, and the conversation with its prompt."""
        tokenizer = self._engine.tokenizer
        parsers = parsers_of(self._engine.config.server, tokenizer.template_text)
        text, marks = tokenizer.render_chat(Chat(messages=messages)), parsers.marks
        opened = marks is not None and thinking_at(text, marks.opening, marks.closing) is Thinking.OPEN
        reading = Reading(reasoning_parser=parsers.reasoning, in_reasoning=opened)
        return reading, Chat(messages=messages, rendered=text)

    async def close(self) -> None:
        """End the engine."""
        await self._engine.close()


def _events_of(delta: dict[str, Any]) -> Iterator[AnswerEvent]:
    """Yield what a chunk's delta says; servers call reasoning by two names."""
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if reasoning:
        yield ReasoningDelta(reasoning)
    if delta.get("content"):
        yield TextDelta(delta["content"])
    for call in delta.get("tool_calls") or ():
        index, function = call.get("index", 0), call.get("function") or {}
        if function.get("name"):
            yield ToolCallStart(index, call.get("id") or "", function["name"])
        if function.get("arguments"):
            yield ToolCallArguments(index, function["arguments"])
