"""Penstock: the engine in this thread, as `penstock bench throughput` runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wire import Done, serve

from penstock.bench.offline import run_offline
from penstock.bench.session import open_session
from penstock.bench.workload import Item
from penstock.config.fields import by_name
from penstock.config.load import load_config
from penstock.kernels.native.library import isa

PRECISIONS = {"bf16": "none", "int8": "int8", "int4": "int4"}


class Penstock:
    """See `wire.Engine`."""

    def __init__(self, model: str, settings: dict[str, Any]) -> None:
        chosen = {
            "model": model,
            "dtype": "bfloat16",
            "quantization": PRECISIONS[settings["precision"]],
            "max_model_len": settings["longest"],
            "max_num_seqs": settings["requests"],
            "kv_cache_memory_bytes": settings["kv_bytes"],
        } | settings["extra"]
        names = {field.name: dotted for dotted, field in by_name().items() if field.section != "server"}
        config = load_config(overrides={names[name]: value for name, value in chosen.items()})
        self._session = open_session(config)
        self._waves = 0
        model_config = self._session.config.model
        self.details = {
            "kernels": model_config.kernels,
            "isa": isa() if model_config.kernels == "native" else "torch's own",
            "attention": model_config.attention,
            "kv_blocks": self._session.memory.blocks,
        }

    def run(self, requests: Sequence[dict[str, Any]]) -> list[Done]:
        """See `wire.Engine`."""
        items = [Item(0.0, request["prompt"], request["output"]) for request in requests]
        self._waves += 1
        records = run_offline(self._session.engine, items, prefix=f"wave-{self._waves}").records
        for record in records:
            if record.error:
                raise RuntimeError(record.error)
        return [Done(record.output_tokens, list(record.token_times)) for record in records]


if __name__ == "__main__":
    serve(Penstock, ("penstock", "torch", "transformers"))
