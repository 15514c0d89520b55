"""llama.cpp through the low level of llama-cpp-python: sequences decoded together in one context.

Its Python class runs one sequence at a time, so batches are put together here, as its server does: every step
holds the next token of each running sequence and as much of the waiting prompts as fits; a sequence whose new
prompt begins like the one before it keeps that part.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import llama_cpp as ll
import numpy as np
from wire import Done, serve

TYPES = {
    "bf16": ll.LLAMA_FTYPE_MOSTLY_BF16,
    "int8": ll.LLAMA_FTYPE_MOSTLY_Q8_0,
    "int4": ll.LLAMA_FTYPE_MOSTLY_Q4_0,
}
STEP_TOKENS = 2048
MOST_SEQUENCES = 256
"""A constant of llama.cpp."""


def prepare(model: str, into: str, precision: str) -> None:
    """Write ``model.gguf``; quantised files are made by llama.cpp's own quantiser from the bfloat16 one."""
    from gguf_qwen3 import convert

    folder = Path(into)
    folder.mkdir(parents=True, exist_ok=True)
    plain = folder / ("model.gguf" if precision == "bf16" else "plain.gguf")
    convert(Path(model), plain)
    if precision != "bf16":
        params = ll.llama_model_quantize_default_params()
        params.ftype = TYPES[precision]
        if ll.llama_model_quantize(
            str(plain).encode(), str(folder / "model.gguf").encode(), ctypes.byref(params)
        ):
            raise RuntimeError("llama_model_quantize failed")
        os.unlink(plain)


@dataclass
class Running:
    """A sequence: what is still to be fed, and what came of it."""

    prompt: list[int]
    wanted: int
    fed: int = 0
    row: int = -1
    """Of its logits in the step under way."""
    token: int = 0
    """Sampled last."""
    done: Done = field(default_factory=Done)


class LlamaCpp:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        ll.llama_backend_init()
        self._model = ll.llama_model_load_from_file(
            str(Path(model) / "model.gguf").encode(), ll.llama_model_default_params()
        )
        if not self._model:
            raise RuntimeError("llama.cpp cannot load the model")
        params = ll.llama_context_default_params()
        params.n_ctx = settings["kv_tokens"] + 32 * settings["requests"]
        params.n_batch = STEP_TOKENS
        params.n_ubatch = 512
        params.n_seq_max = min(settings["requests"], MOST_SEQUENCES)
        params.n_threads = params.n_threads_batch = settings["threads"]
        if hasattr(params, "kv_unified"):
            params.kv_unified = True  # sequences share the cells, so that lengths may differ
        for name, value in settings["extra"].items():
            setattr(params, name, value)
        self._context = ll.llama_init_from_model(self._model, params)
        if not self._context:
            raise RuntimeError("llama.cpp cannot make a context")
        self._memory = ll.llama_get_memory(self._context)
        self._vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self._model))
        self._batch = ll.llama_batch_init(STEP_TOKENS, 0, 1)
        self._cached: dict[int, list[int]] = {}
        """Prompts by the sequence that holds them."""
        self.details: dict[str, Any] = {"system": ll.llama_print_system_info().decode(errors="replace")}

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        running = [Running(request["prompt"], request["output"]) for request in requests]
        for seq, one in enumerate(running):
            self._begin(seq, one)
        while any(one.done.tokens < one.wanted for one in running):
            self._step(running)
        return [one.done for one in running]

    def _begin(self, seq: int, one: Running) -> None:
        """Keep what the sequence has of this prompt already; drop the rest."""
        had = self._cached.pop(seq, [])
        most = min(len(had), len(one.prompt) - 1)  # the last token must be fed for its logits
        one.fed = next((i for i in range(most) if had[i] != one.prompt[i]), most)
        ll.llama_memory_seq_rm(self._memory, seq, one.fed, -1)

    def _step(self, running: list[Running]) -> None:
        batch, count = self._batch, 0
        for seq, one in enumerate(running):  # decoding comes first
            one.row = -1
            if 0 < one.done.tokens < one.wanted:
                count = self._put(count, one.token, len(one.prompt) + one.done.tokens - 1, seq, True)
                one.row = count - 1
        for seq, one in enumerate(running):
            while one.fed < len(one.prompt) and count < STEP_TOKENS:
                last = one.fed == len(one.prompt) - 1
                count = self._put(count, one.prompt[one.fed], one.fed, seq, last)
                one.fed += 1
                if last:
                    one.row = count - 1
                    self._cached[seq] = one.prompt
        batch.n_tokens = count
        status = ll.llama_decode(self._context, batch)
        if status:
            raise RuntimeError(f"llama_decode returned {status}")
        for one in running:
            if one.row >= 0:
                logits = np.ctypeslib.as_array(
                    ll.llama_get_logits_ith(self._context, one.row), shape=(self._vocab,)
                )
                one.token = int(logits.argmax())
                one.done.saw(one.done.tokens + 1, time.perf_counter())

    def _put(self, index: int, token: int, position: int, seq: int, logits: bool) -> int:
        batch = self._batch
        batch.token[index], batch.pos[index] = token, position
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, seq
        batch.logits[index] = logits
        return index + 1


if __name__ == "__main__":
    serve(LlamaCpp, ("llama-cpp-python", "gguf"), prepare)
