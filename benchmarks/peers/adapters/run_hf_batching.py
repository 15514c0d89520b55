"""transformers' continuous batching: its manager in its own thread, prefix sharing as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
from wire import Done, serve

PAGE = 32


class Batching:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        torch.set_num_threads(settings["threads"])
        loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
        chosen = {
            "page_size": PAGE,
            "num_blocks": -(-settings["kv_tokens"] // PAGE) + settings["requests"],
            "max_batch_tokens": 2048,
            "max_requests_per_batch": settings["requests"],
        } | settings["extra"]
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=settings["longest"])
        self._manager = loaded.init_continuous_batching(greedy, ContinuousBatchingConfig(**chosen))
        self._manager.start()
        self._sent = 0
        self.details: dict[str, Any] = dict(chosen)

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        done: dict[str, Done] = {}
        for request in requests:
            self._sent += 1
            done[f"r{self._sent}"] = Done()
            self._manager.add_request(
                request["prompt"],
                f"r{self._sent}",
                request["output"],
                record_timestamps=True,
                eos_token_id=-1,
            )
        missing = set(done)
        while missing:
            result = self._manager.get_result(timeout=1)
            if result is None:
                if not self._manager.is_running():
                    raise RuntimeError("its generation thread ended")
                continue
            if result.error:
                raise RuntimeError(result.error)
            if result.is_finished():
                missing.discard(result.request_id)
                tokens, times = len(result.generated_tokens), list(result.timestamps or ())
                whole = times if len(times) == tokens else [time.perf_counter()]
                done[result.request_id] = Done(tokens, whole)
        return list(done.values())


if __name__ == "__main__":
    serve(Batching, ("transformers", "torch"))
