"""A server under more load than it can carry, with faults, for as long as you like; then the books compared.

Starts a real ``penstock serve`` (bundled model, three tenants of which two are limited), measures what it can
carry, offers 1.5 times that with clients of which some leave, abort or never read, and meanwhile makes steps
raise, kills the engine process, ends it from inside and makes it hang. At the end it checks:

- every request that a client waited for got exactly one end, the one that the engine wrote down;
- the engine wrote exactly one end for each request it took in, unless the process died with it;
- after the load no sequence runs or waits and no block is held;
- resident memory did not grow by more than 5 % after the warm-up (runs of five minutes and more);
- no tenant had more requests admitted, or at work at once, than its limits allow;
- the 99th percentile of /health stayed within 100 ms (its prober is a process of its own);
- within 10 s of each death of the engine (of a hang: of its discovery) a request was answered again.

    python benchmarks/soak.py [--minutes 20] [--save FILE_OR_FOLDER] [--plot FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from soak_checks import judge
from soak_client import ADMIN, KEYS, Crowd, probe

from penstock.bench.report import envelope, result_path, write_result

_URL = re.compile(r" serves '.*' at http://([^:/]+):(\d+)")
HERE = Path(__file__).parent
WATCHDOG = 4
"""Seconds without progress that count as a hang."""
CONCURRENT = 6
"""Requests that beta may have at work at once."""
MANNERS = {"whole": 0.78, "leave": 0.13, "abort": 0.07, "slow": 0.02}
SHARES = {"alpha": 0.5, "beta": 0.25, "gamma": 0.25}
FAULTS = ((0.15, "raise"), (0.3, "kill"), (0.42, "raise"), (0.55, "hang"), (0.68, "raise"), (0.75, "exit"))
"""When, as a part of the run, and what."""
SERVE = "import sys, penstock.engine.client as c; c.DEFAULT_BUILD = 'soak_engine:build'; \
from penstock.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Server:
    """A real ``penstock serve`` whose engine takes orders and writes down what it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limit(10**6)
        flags = ["--port", "0", "--log-level", "warning", "--keys", str(folder / "keys.toml")]
        flags += ["--admin-api-key", ADMIN, "--max-num-seqs", "32", "--admit", "queue-bound(64)"]
        flags += ["--watchdog-timeout", str(WATCHDOG), "--client-write-timeout", "5"]
        # Small enough to be filled by cached prefixes soon: what was never touched is not resident yet.
        flags += ["--kv-cache-memory-bytes", str(48 * 2**20)]
        path = os.pathsep.join([str(HERE), *sys.path])
        self.log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "PENSTOCK_SOAK": str(folder)},
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _URL.search(line):
                self.host, self.port = found[1], int(found[2])
            if "Ctrl-C" in line:
                break
        else:
            raise SystemExit((folder / "server.log").read_text())
        threading.Thread(target=lambda: list(self._process.stdout or ()), daemon=True).start()
        self.api = psutil.Process(self._process.pid)

    def limit(self, per_minute: int) -> None:
        """Write the keys file; gamma may have so many requests admitted a minute."""
        tenants = {"alpha": "", "beta": f"concurrent_requests = {CONCURRENT}"}
        tenants["gamma"] = f"requests_per_minute = {per_minute}"
        text = "".join(f"[tenants.{name}]\nweight = 1.0\n{more}\n" for name, more in tenants.items())
        text += "".join(
            f'[[keys]]\nname = "{name}"\nkey = "{key}"\ntenant = "{name}"\n' for name, key in KEYS.items()
        )
        path = self.folder / "keys.new"
        path.write_text(text)
        path.rename(self.folder / "keys.toml")

    def engine(self) -> psutil.Process | None:
        """Return the engine process at work: the one that writes the newest log."""
        logs = sorted(self.folder.glob("engine-*.jsonl"), key=lambda path: path.stat().st_ctime)
        try:
            return psutil.Process(int(logs[-1].stem.split("-")[1])) if logs else None
        except psutil.NoSuchProcess:
            return None

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON of a route."""
        url = f"http://{self.host}:{self.port}{path}"
        found: dict[str, Any] = httpx.get(
            url, headers={"Authorization": f"Bearer {ADMIN}"}, timeout=10
        ).json()
        return found

    def close(self) -> int:
        """Stop it and return its status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(60)
        finally:
            self._process.kill()


class Soak:
    """One run.

    Args:
        server: running.
        seconds: of load, after the measurement of what can be carried.
        seed: of the load.
    """

    def __init__(self, server: Server, seconds: float, seed: int) -> None:
        self._server, self._seconds = server, seconds
        self._rng = random.Random(seed)
        self.crowd = Crowd(server.host, server.port, seed)
        self.memory: list[tuple[float, str, int, int]] = []
        """Time, which process, its id, bytes."""
        self.faults: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        """Requests under way."""

    async def capacity(self, seconds: float) -> float:
        """Return the requests per second that are answered when 48 are always open."""
        until = time.time() + seconds
        done = 0

        async def worker() -> None:
            nonlocal done
            while time.time() < until:
                one = await self.crowd.ask("alpha")
                done += one.status == 200 and one.ended <= until

        await asyncio.gather(*(worker() for _ in range(48)))
        return done / seconds

    async def run(self, rate: float) -> None:
        """Offer the load, order the faults, watch, and wait for the last answers."""
        began = time.time()
        watchers = [asyncio.create_task(self._sample(began)), asyncio.create_task(self._break(began))]
        while (now := time.time()) < began + self._seconds:
            tenant = self._rng.choices(list(SHARES), list(SHARES.values()))[0]
            manner = self._rng.choices(list(MANNERS), list(MANNERS.values()))[0]
            task = asyncio.create_task(self.crowd.ask(tenant, manner))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(self._rng.expovariate(rate) - min(0.0, time.time() - now))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=120)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watchers[1], 120)  # what was broken last must have been mended
        watchers[0].cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    async def _sample(self, began: float) -> None:
        while True:
            for name, process in (("api", self._server.api), ("engine", self._server.engine())):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process is not None:
                        self.memory.append((time.time(), name, process.pid, process.memory_info().rss))
            seen = self.crowd.seen
            wrong = sum(bool(one.ended and one.verdict()) for one in seen)
            answered = sum(one.status == 200 for one in seen)
            print(
                f"{time.time() - began:6.0f} s  sent {len(seen)}  answered {answered}  open {self.crowd.open}"
                f"  wrong {wrong}  faults {len(self.faults)}  "
                + "  ".join(f"{name} {rss >> 20} MB" for _, name, _, rss in self.memory[-2:]),
                flush=True,
            )
            await asyncio.sleep(5)

    async def _break(self, began: float) -> None:
        for part, what in FAULTS:
            await asyncio.sleep(max(0.0, began + part * self._seconds - time.time()))
            fault: dict[str, Any] = {"at": time.time(), "what": what}
            self.faults.append(fault)
            engine = self._server.engine()
            if what == "kill" and engine is not None:
                fault["pid"] = engine.pid
                engine.kill()
            elif engine is not None:
                fault["pid"] = engine.pid
                (self._server.folder / what).touch()
            if what != "raise":
                await self._ready_again()

    async def _ready_again(self) -> None:
        """Wait for the supervisor to notice a death, and for the engine that follows."""
        async with httpx.AsyncClient(base_url=f"http://{self._server.host}:{self._server.port}") as client:
            for wanted, seconds in ((503, WATCHDOG + 10), (200, 90)):
                until = time.time() + seconds
                while (await client.get("/health")).status_code != wanted and time.time() < until:
                    await asyncio.sleep(0.02)


def run(minutes: float, seed: int, folder: Path) -> dict[str, Any]:
    """Return the report of a run; ``failures`` in it is empty when all is well."""
    seconds = 60 * minutes
    server = Server(folder)
    spawn = multiprocessing.get_context("spawn")
    pipe, there = spawn.Pipe()
    prober = spawn.Process(target=probe, args=(there, server.host, server.port), daemon=True)
    soak = Soak(server, seconds, seed)

    async def go() -> tuple[float, dict[str, Any]]:
        capacity = await soak.capacity(max(4.0, min(30.0, seconds / 10)))
        print(f"capacity: {capacity:.1f} requests/s; offering {1.5 * capacity:.1f}", flush=True)
        per_minute = max(6, int(60 * capacity * 1.5 * SHARES["gamma"] * 0.6))
        server.limit(per_minute)
        await asyncio.sleep(3)  # the file is re-read
        prober.start()
        marks = {
            "began": time.time(),
            "per_minute": per_minute,
            "concurrent": CONCURRENT,
            "watchdog": WATCHDOG,
        }
        await soak.run(1.5 * capacity)
        marks["ended"] = time.time()
        return capacity, marks

    try:
        capacity, marks = asyncio.run(go())
        pipe.send(None)
        health = pipe.recv()
        until = time.time() + 20
        while (load := server.get("/load")).get("running", 1) + load.get(
            "waiting", 1
        ) and time.time() < until:
            time.sleep(0.2)
    finally:
        status = server.close()
    report = envelope("soak", {"minutes": minutes, "seed": seed})
    report |= {"capacity_requests_per_s": capacity, "offered_requests_per_s": 1.5 * capacity, **marks}
    report |= judge(soak.crowd.seen, folder, marks, soak.memory, soak.faults, health, load, status)
    return report


def plot(report: dict[str, Any], path: str) -> None:
    """Draw memory and /health over time, with the faults."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(9, 6))
    for name in ("api", "engine"):
        points = [(at, rss / 2**20) for at, who, _, rss in report["memory"] if who == name]
        top.plot([at - report["began"] for at, _ in points], [rss for _, rss in points], label=name)
    top.set_ylabel("resident memory (MB)")
    top.legend()
    bottom.plot(
        [at - report["began"] for at, *_ in report["health"]], [1e3 * s for _, s, _ in report["health"]], ","
    )
    bottom.set_yscale("log")
    bottom.set_ylabel("/health (ms)")
    bottom.set_xlabel("seconds")
    for fault in report["faults"]:
        for axis in (top, bottom):
            axis.axvline(fault["at"] - report["began"], linestyle=":", color="grey")
        top.text(fault["at"] - report["began"], top.get_ylim()[1], fault["what"], rotation=60, fontsize=7)
    figure.savefig(path, dpi=120)


def main() -> int:
    """Run, print what was found, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", default="", help="result file or folder")
    parser.add_argument("--plot", default="", help="file of a plot")
    parser.add_argument("--keep", default="", help="folder for the logs; by default they are thrown away")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.keep or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = run(args.minutes, args.seed, folder)
    if args.plot:
        plot(report, args.plot)
    if args.save:
        write_result(result_path(args.save, "soak"), report)
    print(json.dumps({key: value for key, value in report["summary"].items()}, indent=2))
    for failure in report["failures"]:
        print("FAILED:", failure)
    print("soak:", "failed" if report["failures"] else "all is well")
    return bool(report["failures"])


if __name__ == "__main__":
    sys.exit(main())
