"""``/tokenize``, ``/detokenize`` and ``/tokenizer_info``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from msgspec import UNSET
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from penstock.core.errors import InvalidRequest
from penstock.server import service
from penstock.server.asks import chat_prompt
from penstock.server.body import reads
from penstock.server.described import answers
from penstock.server.routes.models import reply
from penstock.server.schemas.facts import DetokenizeReply, TokenizeReply, TokenizerInfo
from penstock.server.schemas.tokens import DetokenizeRequest, TokenizeChat, TokenizeRequest, TokenizeText
from penstock.server.service import Service

router = APIRouter(tags=["tokens"])


@router.post("/tokenize", summary="Text or messages to token ids", response_model=None)
@answers(TokenizeReply, errors=(404,))
async def tokenize(
    request: Request, body: Annotated[TokenizeRequest, Depends(reads(TokenizeRequest))]
) -> Response:
    """Return the ids that a completion (``prompt``) or a chat (``messages``) would be given."""
    to = service.of(request)
    to.check_model(body.model)
    # A long text takes a while, and the tokenizer releases the interpreter lock.
    ids = await run_in_threadpool(_encode, to, body)
    texts = (
        [to.engine.tokenizer.token_text(token_id) for token_id in ids] if body.return_token_strs else UNSET
    )
    return reply(
        TokenizeReply(
            tokens=list(ids), count=len(ids), max_model_len=to.engine.info.max_model_len, token_strs=texts
        )
    )


def _encode(to: Service, body: TokenizeText | TokenizeChat) -> tuple[int, ...]:
    tokenizer = to.engine.tokenizer
    if isinstance(body, TokenizeChat):
        text, special = tokenizer.render_chat(chat_prompt(body)), bool(body.add_special_tokens)
    else:
        text, special = body.prompt, body.add_special_tokens is not False
    return tuple(tokenizer.encode(text, add_special_tokens=special))


@router.post("/detokenize", summary="Token ids to text", response_model=None)
@answers(DetokenizeReply, errors=(404,))
async def detokenize(
    request: Request, body: Annotated[DetokenizeRequest, Depends(reads(DetokenizeRequest))]
) -> Response:
    """Return the text of token ids, special tokens written out."""
    to = service.of(request)
    to.check_model(body.model)
    size = to.engine.info.vocab_size
    for index, token_id in enumerate(body.tokens):
        if token_id >= size:
            raise InvalidRequest(
                f"tokens[{index}]", f"must be below the vocabulary size {size}, got {token_id}"
            )
    text = await run_in_threadpool(to.engine.tokenizer.decode, body.tokens, skip_special_tokens=False)
    return reply(DetokenizeReply(text))


@router.get("/tokenizer_info", summary="What the tokenizer is", response_model=None)
@answers(TokenizerInfo)
async def tokenizer_info(request: Request) -> Response:
    """Return the tokenizer's named tokens and the chat template, for clients that tokenise here."""
    engine = service.of(request).engine
    tokenizer = engine.tokenizer
    return reply(
        TokenizerInfo(
            tokenizer_class=type(tokenizer.inner).__name__,
            **tokenizer.named_tokens,
            chat_template=tokenizer.template_text or None,
            model_max_length=engine.info.max_model_len,
            vocab_size=engine.info.vocab_size,
        )
    )
