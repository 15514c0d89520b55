"""What tuning found by simulation, put to a real server on this machine: does the direction hold?

Step times are fitted on this machine (`penstock calibrate`), the load is a multiple of what the default
composition can take in simulation, a composition is tuned for it, and `penstock serve --config` runs the
default and the tuned file in turn under the same recorded arrivals, measured by `penstock bench serve`.
About 80 s a seed; the machine should do nothing else.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from penstock.config.settings import ScheduleConfig
from penstock.reproduce.base import Bar, experiment
from penstock.sim.capacity import find_capacity
from penstock.sim.run import Scenario, evaluate, simulate
from penstock.sim.tune import as_toml, tune

OVERLOAD = 1.6
"""Times the default's simulated capacity."""
LENIENCE = {"ttft": 10.0, "tpot": 4.0}
"""Objectives as multiples of a lone request's simulated latency, so that they suit any machine."""
LASTS = 20.0
"""Seconds of arrivals, within 60 to 400 requests."""
PROMPT, OUTPUT = "lognormal:200:0.5", "lognormal:60:0.5"
LONGEST = 600
BLOCKS = 1024
"""KV blocks of 32 tokens that the scenario gives the engine; the bundled model's server has more."""


def penstock(*words: str, timeout: float = 300.0) -> None:
    """Run a command of ours to its end.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    command = [sys.executable, "-m", "penstock.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"penstock {words[0]} failed: {done.stderr.strip()[-300:]}")


@contextmanager
def served(config: Path) -> Iterator[str]:
    """Serve the bundled model with a configuration file; give its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "penstock.cli", "serve", "--config", str(config), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measured(config: Path, trace: Path, folder: Path, slo: dict[str, float]) -> dict[str, float]:
    """Return the figures of a recorded load on a real server."""
    out = folder / f"{config.stem}.json"
    goodput = ",".join(f"{name}:{limit:.4f}s" for name, limit in slo.items())
    with served(config) as url:
        load = ["--dataset-name", "trace", "--dataset-path", str(trace), "--ignore-eos", "--no-progress"]
        penstock("bench", "serve", "--base-url", url, *load, "--goodput", goodput, "--save", str(out))
    found: dict[str, float] = json.loads(out.read_text())
    return found


def write_trace(path: Path, rate: float, count: int, seed: int) -> None:
    """Write Poisson arrivals of log-normal lengths as JSON lines."""
    rng = np.random.default_rng(seed)
    time, lines = 0.0, []
    for _ in range(count):
        prompt, output = (int(np.clip(rng.lognormal(np.log(mid), 0.5), 4, LONGEST)) for mid in (180, 55))
        lines.append({"arrival": round(time, 6), "prompt_tokens": prompt, "output_tokens": output})
        time += float(rng.exponential(1 / rate))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def objectives(fit: Path, load: str) -> dict[str, float]:
    """Return objectives that are lenient to a request alone on this machine."""
    alone = simulate(msgspec.structs.replace(base(fit, load, 0, {}), rate=1e-3, limit=20)).figures
    return {name: factor * alone[f"mean_{name}_ms"] / 1000 for name, factor in LENIENCE.items()}


def base(fit: Path, workload: str, seed: int, slo: dict[str, float]) -> Scenario:
    """Return the default composition on this machine's fitted step times."""
    return Scenario(
        workload=workload, cost=f"fit:{fit}", blocks=BLOCKS, max_model_len=1024, slo=slo, seed=seed
    )


def _ratio(after: float, before: float) -> float:
    """Return after / before; nothing gained from nothing is no gain."""
    if before:
        return after / before
    return float("inf") if after else 0.0


def _files(folder: Path, texts: Sequence[tuple[str, str]]) -> list[Path]:
    paths = []
    for name, text in texts:
        paths.append(folder / f"{name}.toml")
        paths[-1].write_text(text)
    return paths


@experiment(
    "tune-real",
    row="T",
    system="tune",
    kind="real",
    title="A tuned configuration on a real server",
    bars=[Bar("gain_real", floor=1.0, paper="no paper: the project's own bar, the direction")],
)
def tune_real(seed: int, quick: bool) -> dict[str, float]:
    """Calibrate, tune, serve the default and the tuned file, compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit, trace = folder / "fit.json", folder / "trace.jsonl"
        penstock("calibrate", "--output", str(fit), "--seconds", "5" if quick else "20")
        load = f"poisson:count={100 if quick else 300},prompt={PROMPT},output={OUTPUT},longest={LONGEST}"
        slo = objectives(fit, load)
        capacity = find_capacity(base(fit, load, seed, slo), evaluate)
        rate = OVERLOAD * (capacity.rate or 1.0)
        sent = int(np.clip(rate * LASTS, 60, 400)) // (3 if quick else 1)
        write_trace(trace, rate, sent, seed)
        scenario = base(fit, f"trace:jsonl:{trace}", seed, slo)
        found = tune(scenario, evaluate, extra=0 if quick else 4, seed=seed)
        default = f'[schedule]\norder = "{ScheduleConfig().order}"\n'
        files = _files(
            folder, [("default", default), ("tuned", as_toml(found, "penstock reproduce tune-real"))]
        )
        before, after = (measured(file, trace, folder, slo) for file in files)
    real = _ratio(after["request_goodput"], before["request_goodput"])
    settings = msgspec.to_builtins(found.best.settings)
    return {
        "gain_real": real,
        "gain_simulated": found.gain,
        "goodput_default_real": before["request_goodput"],
        "goodput_tuned_real": after["request_goodput"],
        "goodput_default_simulated": found.default.score,
        "goodput_tuned_simulated": found.best.score,
        "rate": rate,
        "ttft_asked": slo["ttft"],
        "tpot_asked": slo["tpot"],
        "requests": float(sent),
        "refused_real": float(after["failed"]),
        "max_num_seqs": float(settings["max_num_seqs"]),
        "max_num_batched_tokens": float(settings["max_num_batched_tokens"]),
    }
