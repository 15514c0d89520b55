"""A log line per admitted request with its parameters, where that is wanted; text only on top of that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from penstock.config.settings import ServerConfig
from penstock.frontend.prompts import RequestOptions
from penstock.server.feed import Feed
from penstock.server.principal import principal_of

logger = logging.getLogger("penstock.server.requests")

TEXTS = frozenset({"stop", "bad_words"})
"""Parameters that hold what a user wrote."""
_LONGEST = 4096
"""Characters of a prompt that are logged."""


def log_request(server: ServerConfig, request: Request, feed: Feed) -> None:
    """Log an admitted request, if that is wanted.

    Args:
        server: says whether, and whether prompts may be shown.
        request: the HTTP request.
        feed: admitted.
    """
    if not server.enable_log_requests or not logger.isEnabledFor(logging.INFO):
        return
    for ask, stream in zip(feed.asks, feed.streams, strict=True):
        extra: dict[str, Any] = {
            "request_id": request.state.request_id,
            "id": feed.id,
            "key": principal_of(request).name,
            "prompt_tokens": len(stream.prompt_token_ids),
            **_options(ask.options),
            "params": _params(ask.params, server.log_prompts),
        }
        if server.log_prompts:
            text = stream.prompt
            extra["prompt"] = list(stream.prompt_token_ids[:_LONGEST]) if text is None else text[:_LONGEST]
        logger.info("request", extra=extra)


def _options(options: RequestOptions) -> dict[str, Any]:
    chosen = {"tenant": options.tenant, "weight": options.weight, "priority": options.priority}
    if options.program is not None:
        chosen["program"] = options.program
    if options.grammar is not None:
        chosen["grammar"] = options.grammar.kind
    return chosen


def _params(params: Mapping[str, Any], texts: bool) -> dict[str, Any]:
    """Return the parameters, with texts of the user's replaced by their number."""
    return {
        name: value if texts or name not in TEXTS else f"{len(value)} given" for name, value in params.items()
    }
