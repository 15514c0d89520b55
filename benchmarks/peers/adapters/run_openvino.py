"""OpenVINO GenAI: its continuous batching pipeline, stepped here; models exported by optimum-intel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from wire import Done, serve


def prepare(model: str, into: str, precision: str) -> None:
    """Export a model folder; quantised weights are rounded by groups of 32 where they have 4 bits."""
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVWeightQuantizationConfig

    config = None
    if precision == "int8":
        config = OVWeightQuantizationConfig(bits=8, sym=True)
    elif precision == "int4":
        config = OVWeightQuantizationConfig(bits=4, sym=True, group_size=32, ratio=1.0)
    weights = None if config is None else {"quantization_config": config}
    from optimum.intel import OVConfig

    main_export(
        model,
        into,
        task="text-generation-with-past",
        ov_config=OVConfig(**weights) if weights else OVConfig(dtype="bf16"),
        convert_tokenizer=True,
        library_name="transformers",
    )
    if not (Path(into) / "openvino_model.xml").exists():
        raise RuntimeError("the exporter wrote no openvino_model.xml")


class OpenVino:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        import openvino_genai as genai
        from openvino import Tensor

        self._genai, self._tensor = genai, Tensor
        scheduler = genai.SchedulerConfig()
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = settings["requests"]
        scheduler.num_kv_blocks = -(-settings["kv_tokens"] // 32) + settings["requests"]
        self.details: dict[str, Any] = {"kv_cache": "u8 unless chosen"}
        chosen = {"INFERENCE_NUM_THREADS": settings["threads"]}
        for name, value in settings["extra"].items():
            if hasattr(scheduler, name):
                setattr(scheduler, name, value)
            else:
                chosen[name] = value
        self._pipe = genai.ContinuousBatchingPipeline(model, scheduler, "CPU", chosen)
        self._sent = 0

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        handles = []
        for request in requests:
            config = self._genai.GenerationConfig()
            config.max_new_tokens = request["output"]
            config.ignore_eos = True
            config.do_sample = False
            self._sent += 1
            ids = self._tensor(np.array([request["prompt"]], dtype=np.int64))
            handles.append(self._pipe.add_request(self._sent, ids, config))
        done = [Done() for _ in handles]
        while self._pipe.has_non_finished_requests():
            self._pipe.step()
            now = time.perf_counter()
            for one, handle in zip(done, handles, strict=True):
                while handle.can_read():
                    for output in handle.read().values():
                        one.saw(one.tokens + len(output.generated_ids), now)
        return done


if __name__ == "__main__":
    serve(OpenVino, ("openvino", "openvino-genai", "optimum-intel", "transformers"), prepare)
