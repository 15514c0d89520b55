"""An engine set up for measurement in this process, and what it tells about itself afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.bench.offline import MeteredExecutor, run_offline
from penstock.bench.roofline import decode_share, measure_bandwidth
from penstock.bench.workload import WorkloadSpec, build_workload
from penstock.config.settings import Config
from penstock.engine.core import EngineCore, build_engine

if TYPE_CHECKING:
    from penstock.runtime.memory import MemoryPlan


@dataclass(slots=True)
class Session:
    """A loaded model behind an engine that nobody else uses."""

    config: Config
    """Resolved: nothing is left to be chosen."""
    engine: EngineCore
    meter: MeteredExecutor
    memory: MemoryPlan

    @property
    def vocab_size(self) -> int:
        """Token ids are below it."""
        return self.meter.spec().vocab_size

    def warm_up(self) -> None:
        """Run a few short requests so that first-use costs are not measured; they leave no cached prefix."""
        spec = WorkloadSpec(count=4, input_len="16", output_len="4", vocab_size=self.vocab_size, seed=2**31)
        run_offline(self.engine, build_workload(spec), prefix="warm-up")
        self.engine.reset_prefix_cache()
        self.meter.steps.clear()

    def figures(self, *, roofline: bool) -> dict[str, Any]:
        """Return what the engine and the meter counted; measures the bandwidth when asked to."""
        stats = self.engine.stats()
        found: dict[str, Any] = {
            "steps": len(self.meter.steps),
            "step_seconds": sum(seconds for _, seconds in self.meter.steps),
            "preemptions": stats.preemptions,
            "recomputed_tokens": stats.recomputed_tokens,
        }
        if roofline:
            found["roofline"] = self._roofline()
        return found

    def _roofline(self) -> dict[str, float]:
        share = decode_share(
            self.meter.steps,
            self.memory.weights,
            self.memory.block_bytes / self.memory.page_size,
            measure_bandwidth(self.config.model.device),
        )
        return {
            "measured_bandwidth_bytes_per_s": share.bandwidth,
            "decode_steps": share.steps,
            "decode_seconds": share.seconds,
            "decode_bytes": share.bytes_needed,
            "achieved_bytes_per_s": share.achieved,
            "share": share.share,
        }

    def roofline_rows(self, figures: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the table rows of the roofline, if it was measured."""
        roofline = figures.get("roofline")
        if not roofline:
            return []
        bandwidth, achieved = roofline["measured_bandwidth_bytes_per_s"], roofline["achieved_bytes_per_s"]
        return [
            ("memory bandwidth, measured", f"{bandwidth / 1e9:.1f} GB/s"),
            ("read by decode steps", f"{achieved / 1e9:.1f} GB/s over {roofline['decode_steps']} steps"),
            ("share of the roofline", f"{100 * roofline['share']:.0f} %"),
        ]


def open_session(config: Config) -> Session:
    """Load the model and build the engine.

    Raises:
        ConfigError: a setting, model folder or checkpoint cannot be used.
    """
    from penstock.executors.inline import build_executor

    body = build_executor(config)
    assert body.config is not None and body.memory is not None, "build_executor resolves the settings"
    meter = MeteredExecutor(body)
    engine = build_engine(meter, body.config.schedule, body.config.cache)
    return Session(body.config, engine, meter, body.memory)
