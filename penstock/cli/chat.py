"""``penstock chat``: a conversation in the terminal, with a server or with a model in this process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any, Protocol

from penstock.cli.chat_view import View
from penstock.cli.parser import Parser, Verbs, add_verb, flag
from penstock.cli.sampling import add_sampling_flags, sampling_of
from penstock.cli.serve import add_model_argument, take_model_argument
from penstock.config.flags import add_flags, config_from_args
from penstock.core.errors import PenstockError
from penstock.frontend.answers.events import AnswerEvent, TextDelta

_TEXT = """
With --base-url it talks to a server; without, the model is loaded into this process. Replies are shown as
they are written; Ctrl-C stops a reply. Lines that begin with / are commands: /help lists them.

examples:
  penstock chat                                             the bundled model, in this process
  penstock chat small                                       another model of the zoo (`penstock zoo list`)
  penstock chat /models/llama-3.2-1b --temperature 0.7
  penstock chat --base-url http://127.0.0.1:8000 --system "Answer briefly."
  echo "Tell me a story" | penstock chat
"""

_HELP = "/reset forgets the conversation, /system TEXT sets the instruction, /quit (or Ctrl-D) ends"

Message = dict[str, str]


class Backend(Protocol):
    """Something that answers conversations."""

    def reply(self, messages: list[Message], sampling: dict[str, Any]) -> AsyncIterator[AnswerEvent]:
        """Yield the reply event by event; closing the iterator early stops it."""
        ...

    def close(self) -> Awaitable[None]:
        """Release what is behind it."""
        ...


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "chat", run, "Talk to a model in this terminal.", _TEXT, "[MODEL]")
    add_model_argument(parser)
    group = parser.add_argument_group("conversation")
    flag(group, "--base-url", "", "URL", "talk to the server there", shown="load the model here")
    flag(group, "--api-key", None, "KEY", "bearer key of the server", shown="$OPENAI_API_KEY if set")
    flag(group, "--system", "", "TEXT", "instruction that comes before the conversation", shown="none")
    add_sampling_flags(parser, "up to the model's context")
    add_flags(parser, only=("model", "cache", "schedule"))


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends."""
    take_model_argument(args)
    with asyncio.Runner() as runner:
        backend = runner.run(_open(args))
        try:
            return _Conversation(runner, backend, args.system, sampling_of(args)).loop()
        finally:
            runner.run(_closed(backend))


async def _closed(backend: Backend) -> None:
    await backend.close()


class _Conversation:
    """The messages so far and the loop that reads, answers and remembers."""

    def __init__(
        self, runner: asyncio.Runner, backend: Backend, system: str, sampling: dict[str, Any]
    ) -> None:
        self.runner = runner
        self.backend = backend
        self.sampling = sampling
        self.system = system
        self.messages: list[Message] = []
        self.interactive = sys.stdin.isatty()

    def loop(self) -> int:
        """Answer line after line; a failed reply is reported and, at a terminal, not the end."""
        if self.interactive:
            print(_HELP)
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  (arrow keys and history for input())
        status = 0
        while True:
            try:
                line = input("> " if self.interactive else "").strip()
            except EOFError:
                return status
            except KeyboardInterrupt:
                print()
                continue
            if line == "/quit":
                return status
            if line.startswith("/"):
                self.command(line)
            elif line:
                status = self.turn(line)

    def command(self, line: str) -> None:
        """Do what a line beginning with / asks for."""
        name, _, rest = line.partition(" ")
        if name == "/reset":
            self.messages.clear()
        elif name == "/system":
            self.system = rest.strip()
        else:
            print(_HELP if name == "/help" else f"unknown command {name}; {_HELP}")

    def turn(self, line: str) -> int:
        """Get one reply; returns 0, or 2 when it failed (and the line is forgotten)."""
        self.messages.append({"role": "user", "content": line})
        pieces: list[str] = []
        try:
            self.runner.run(self.show(pieces))
        except KeyboardInterrupt:
            pass
        except PenstockError as error:
            self.messages.pop()
            print(f"penstock: {error}", file=sys.stderr)
            return 2
        print(flush=True)
        self.messages.append({"role": "assistant", "content": "".join(pieces)})
        return 0

    async def show(self, pieces: list[str]) -> None:
        """Print the reply as it comes and keep its pieces, also when interrupted."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        view = View(styled=sys.stdout.isatty())
        stream = self.backend.reply(system + self.messages, self.sampling)
        async with contextlib.aclosing(stream) as reply:  # type: ignore[type-var]
            try:
                async for event in reply:
                    if isinstance(event, TextDelta):
                        pieces.append(event.text)
                    print(view.show(event), end="", flush=True)
            finally:
                print(view.end(), end="", flush=True)


async def _open(args: argparse.Namespace) -> Backend:
    """Return the server or the engine that answers."""
    if args.base_url:
        from penstock.cli.chat_backends import ServerBackend

        key = os.environ.get("OPENAI_API_KEY", "") if args.api_key is None else args.api_key
        return await ServerBackend.connect(args.base_url, key, getattr(args, "model.model", ""))
    from penstock.cli.chat_backends import EngineBackend

    return await EngineBackend.load(config_from_args(args))
