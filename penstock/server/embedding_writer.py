"""Answers of ``/v1/embeddings``."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from penstock.frontend.outputs import RequestOutput, Usage
from penstock.frontend.pooling import embedding_of, shaped
from penstock.server.schemas.embeddings import Embedding, EmbeddingList, EmbeddingRequest, EmbeddingUsage
from penstock.server.schemas.replies import encode
from penstock.server.service import Service


class EmbeddingWriter:
    """Puts pooled prompts into OpenAI's form; they are answered whole, never as a stream.

    Args:
        service: whose model answers.
        body: the request.
    """

    def __init__(self, service: Service, body: EmbeddingRequest) -> None:
        self._model = service.model
        self._base64 = body.encoding_format == "base64"
        self._dimensions = body.dimensions
        self._normalize = body.normalize is not False

    def whole(self, outputs: Sequence[RequestOutput], usage: Usage) -> bytes:
        """Return the list of vectors, in the order of the inputs."""
        data = [Embedding("embedding", index, self._packed(output)) for index, output in enumerate(outputs)]
        counts = EmbeddingUsage(usage.prompt_tokens, usage.prompt_tokens)
        return encode(EmbeddingList("list", self._model, data, counts))

    def _packed(self, output: RequestOutput) -> list[float] | str:
        vector_E = shaped(embedding_of(output), self._dimensions, self._normalize)
        if self._base64:
            return base64.b64encode(vector_E.astype("<f4").tobytes()).decode("ascii")
        values: list[float] = np.asarray(vector_E).tolist()
        return values

    def chunks(self, index: int, output: RequestOutput, usage: Usage) -> list[bytes]:
        """Return nothing: there are no streams of vectors."""
        return []

    def usage_chunk(self, usage: Usage) -> bytes:
        """Return nothing: there are no streams of vectors."""
        return b""
