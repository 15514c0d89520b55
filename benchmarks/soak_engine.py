"""The engine that `benchmarks/soak.py` serves: the real one, with faults on command and a log of ends.

The folder named by ``PENSTOCK_SOAK`` takes the orders (`penstock.executors.faults.OnCommand`) and gets one
``engine-PID.jsonl`` per engine process: a line for every request taken in and for every terminal event. Lines
are handed to the system one by one, so that a process that is killed leaves all it did.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.config.settings import Config
from penstock.core.output import Output
from penstock.core.request import RequestSpec
from penstock.engine.build import Built, assemble
from penstock.engine.build import preload as preload
from penstock.executors.faults import OnCommand
from penstock.executors.inline import build_executor


def build(config: Config, report: Callable[[str], None]) -> Built:
    """Build the engine that serves, and watch it."""
    folder = Path(os.environ["PENSTOCK_SOAK"])
    executor = build_executor(config, fault=OnCommand(folder))
    built = assemble(config, executor, eos_ids=tuple(executor.runner.decoder.spec.eos_ids))  # type: ignore[union-attr]
    _watch(built.core, folder / f"engine-{os.getpid()}.jsonl")
    return built


def _watch(core: Any, path: Path) -> None:
    log = path.open("ab", buffering=0)  # as long as the engine lives

    def note(**entry: Any) -> None:
        log.write(json.dumps(entry | {"at": time.time()}).encode() + b"\n")

    submit, tick = core.submit, core.tick

    def watched_submit(spec: RequestSpec) -> None:
        submit(spec)
        note(took=spec.id, tenant=spec.tenant)

    def watched_tick() -> list[Output]:
        outputs: list[Output] = tick()
        for output in outputs:
            if output.finish is not None:
                note(ended=output.request_id, reason=str(output.finish.reason), detail=output.finish.detail)
        return outputs

    core.submit, core.tick = watched_submit, watched_tick
