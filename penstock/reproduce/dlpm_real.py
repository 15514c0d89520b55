"""DLPM on the bundled model: four clients with a prefix each, and room for two of them in the cache.

The engine runs in this process, one per order, in turns of a few seconds; throughput counts per second of
processor time, so that the machine's other work does not show. About 60 s, 10 s when quick.
"""

from __future__ import annotations

import time

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig
from penstock.engine.build import DEFAULT_BUILD, find_builder
from penstock.reproduce.base import Bar, experiment
from penstock.workload.metrics.fairness import jain
from penstock.workload.request import Span, TraceRequest

CLIENTS, PREFIX, OWN, OUTPUT = 4, 512, 32, 16
OPEN = (16, 8, 8, 8)
"""Requests that each client keeps open; the first one asks for more."""
SEQUENCES = 4
PAGE, PAGE_BYTES = 32, 6 * 2 * 2 * 64 * 32 * 2
"""Of the bundled model: 6 layers, keys and values, 2 heads of 64, 32 tokens of bf16."""
PAGES = 2 * PREFIX // PAGE + SEQUENCES * (-(-(OWN + OUTPUT) // PAGE) + 1)
QUANTUM = 2000
ORDERS = {"lpm": "lpm", "dlpm": f"dlpm({QUANTUM})", "vtc": "vtc(charge=extend)"}


class Engine:
    """An engine and the clients that keep it busy.

    Args:
        order: policy string.
    """

    def __init__(self, order: str) -> None:
        config = Config(
            model=ModelConfig(max_model_len=640),
            cache=CacheConfig(kv_cache_memory_bytes=PAGES * PAGE_BYTES, block_size=PAGE),
            schedule=ScheduleConfig(order=order, reserve="final", admit="unlimited", max_num_seqs=SEQUENCES),
        )
        built = find_builder(DEFAULT_BUILD)(config, lambda line: None)
        self._core = built.core
        self._vocabulary = built.info.vocab_size
        self._sent = 0
        self._open: dict[str, int] = {}
        """Client by request."""
        self.answers = [0] * CLIENTS
        self.service = [0.0] * CLIENTS
        self.seconds = 0.0
        self.pages = self._core.stats().blocks_total
        for client, count in enumerate(OPEN):
            for _ in range(count):
                self._send(client)

    def _send(self, client: int) -> None:
        self._sent += 1
        request = TraceRequest(
            id=f"r{self._sent}",
            arrival=0.0,
            prompt=(Span(1 + client, PREFIX), Span(100 + self._sent, OWN)),
            output_tokens=OUTPUT,
            tenant=f"client{client}",
        )
        self._open[request.id] = client
        self._core.submit(request.spec(0.0, self._vocabulary))

    def run(self, seconds: float) -> None:
        """Serve for so many seconds of processor time."""
        begin = time.process_time()
        while (now := time.process_time() - begin) < seconds:
            for out in self._core.tick():
                if out.finish is None:
                    continue
                client = self._open.pop(out.request_id)
                self.answers[client] += 1
                self.service[client] += PREFIX + OWN - out.cached_tokens + 2.0 * OUTPUT
                self._send(client)
        self.seconds += now

    def forget(self) -> None:
        """Count from here on."""
        self.answers, self.service, self.seconds = [0] * CLIENTS, [0.0] * CLIENTS, 0.0
        self._computed = self._core.stats().prompt_tokens

    def figures(self) -> dict[str, float]:
        """Return throughput (prompt and output), computed prompt tokens per answer, and Jain's index."""
        done = sum(self.answers)
        return {
            "tokens_per_s": done * (PREFIX + OWN + OUTPUT) / self.seconds,
            "computed_per_answer": (self._core.stats().prompt_tokens - self._computed) / max(1, done),
            "jain": jain(self.service),
            "answers": done,
        }

    def close(self) -> None:
        """Release the model."""
        self._core.close()


@experiment(
    "dlpm-real",
    row="2",
    system="dlpm",
    kind="real",
    title="four clients with a 512-token prefix each, room for two (bundled model)",
    bars=(
        Bar("throughput_of_lpm", floor=0.9, paper="close to LPM"),
        Bar("dlpm_jain", floor=0.85),
        Bar("computed_of_vtc", ceiling=1.0, paper="VTC destroys locality"),
    ),
)
def real(seed: int, quick: bool) -> dict[str, float]:
    """lpm, dlpm and vtc in turns; the first turn of each only warms up."""
    turns, seconds = (2, 1.0) if quick else (6, 3.0)
    engines = {name: Engine(order) for name, order in ORDERS.items()}
    try:
        for engine in engines.values():
            engine.run(1.0)
            engine.forget()
        for _ in range(turns):
            for engine in engines.values():
                engine.run(seconds)
        seen = {name: engine.figures() for name, engine in engines.items()}
    finally:
        for engine in engines.values():
            engine.close()
    figures = {f"{name}_{key}": value for name, one in seen.items() for key, value in one.items()}
    lpm, dlpm, vtc = (seen[name] for name in ("lpm", "dlpm", "vtc"))
    return figures | {
        "throughput_of_lpm": dlpm["tokens_per_s"] / lpm["tokens_per_s"],
        "throughput_of_vtc": dlpm["tokens_per_s"] / vtc["tokens_per_s"],
        "computed_of_lpm": dlpm["computed_per_answer"] / lpm["computed_per_answer"],
        "computed_of_vtc": dlpm["computed_per_answer"] / vtc["computed_per_answer"],
        "pages": float(engines["lpm"].pages),
    }
