"""transformers' generate: padded batches of requests in their order, each row stopped at its own length."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, StoppingCriteria, StoppingCriteriaList
from wire import Done, serve

BATCH = 32
"""Rows at most: as many requests as the mixed workload has; more cost memory without gain on few cores."""


class Lengths(StoppingCriteria):  # type: ignore[misc]
    """Ends every row at its length and notes when each token came."""

    def __init__(self, start: int, lengths: Sequence[int]) -> None:
        self._start = start
        self._lengths_B = torch.tensor(lengths)
        self.done = [Done() for _ in lengths]

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return which rows have ended, bool ``[B]``."""
        now, made = time.perf_counter(), input_ids.shape[1] - self._start
        for done, length in zip(self.done, self._lengths_B.tolist(), strict=True):
            done.saw(min(made, length), now)
        return self._lengths_B <= made


class Generate:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        self._model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
        self._extra = settings["extra"]
        self.details: dict[str, Any] = {"batch": BATCH, "attention": self._model.config._attn_implementation}

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        done: list[Done] = []
        for first in range(0, len(requests), BATCH):
            done += self._batch(requests[first : first + BATCH])
        return done

    def _batch(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        width = max(len(request["prompt"]) for request in requests)
        lengths = [request["output"] for request in requests]
        ids_BT = torch.zeros(len(requests), width, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, request in enumerate(requests):
            begin = width - len(request["prompt"])
            ids_BT[row, begin:] = torch.tensor(request["prompt"])
            mask_BT[row, begin:] = 1
        ends = Lengths(width, lengths)
        self._model.generate(
            ids_BT,
            attention_mask=mask_BT,
            do_sample=False,
            max_new_tokens=max(lengths),
            stopping_criteria=StoppingCriteriaList([ends]),
            # None that the model makes, so that only the lengths end a row; finished rows are filled with 0.
            eos_token_id=None,
            pad_token_id=0,
            **self._extra,
        )
        return ends.done


if __name__ == "__main__":
    serve(Generate, ("transformers", "torch"))
