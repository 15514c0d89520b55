"""Which reader an answer is read with."""

from __future__ import annotations

from penstock.frontend.answers.reader import AnswerReader
from penstock.server.asks import chat_prompt
from penstock.server.schemas.chat import ChatRequest
from penstock.server.service import Service
from penstock.server.tools import plan_of


def reader_for(service: Service, chat: ChatRequest) -> AnswerReader:
    """Return a new reader for one answer to a chat.

    Raises:
        InvalidRequest: as `plan_of` does.
    """
    return plan_of(service, chat, chat_prompt(chat), None).reading.reader()
