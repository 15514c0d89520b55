"""Which reader an answer is read with."""

from __future__ import annotations

from penstock.frontend.answers.reader import AnswerReader, PlainReader
from penstock.server.schemas.chat import ChatRequest
from penstock.server.service import Service


def reader_for(service: Service, chat: ChatRequest) -> AnswerReader:
    """Return a new reader for one answer to a chat."""
    return PlainReader()
