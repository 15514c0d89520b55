"""Tokens per second through the server against the offline `LLM` on the same work, in turns A B A B.

Both have the bundled model loaded all the time, in processes of their own; only one works at a time. The
load generator is a third process on the same machine: its processor time is taken from the server's
throughput, and is reported beside that of the server's two processes so that a reader can judge. It sends
every request at once over a connection each, reads event streams (or whole answers) without parsing their
text, and checks that each answer has the tokens that were asked for.

"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

import psutil

from penstock.bench.report import envelope, print_table, result_path, write_result

ROUTE = "/v1/completions"
_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_URL = re.compile(r" serves '.*' at http://([^:/]+):(\d+)")


# The offline side


def offline(pipe: Connection, settings: dict[str, Any]) -> None:
    """Run rounds as they are asked for, in this process."""
    from penstock.frontend.llm import LLM

    llm = LLM(**settings)
    pipe.send("ready")
    while (job := pipe.recv()) is not None:
        prompts, tokens = job
        began = time.perf_counter()
        outputs = llm.generate(prompts, max_tokens=tokens, ignore_eos=True, temperature=0.0)
        seconds = time.perf_counter() - began
        pipe.send((seconds, sum(len(out.token_ids) for one in outputs for out in one.outputs)))


# The load generator


class _Answer(asyncio.Protocol):
    """One connection: sends its request at once, keeps the tail of what comes back."""

    def __init__(self, request: bytes, done: asyncio.Future[tuple[int, int]]) -> None:
        self._request, self._done = request, done
        self._tail = b""
        self._reads = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._reads += 1
        self._tail = (self._tail + data)[-2048:]

    def connection_lost(self, exc: Exception | None) -> None:
        found = _TOKENS.findall(self._tail)
        self._done.set_result((int(found[-1]) if found else 0, self._reads))


async def _round(
    host: str, port: int, prompts: list[str], tokens: int, stream: bool
) -> tuple[float, int, int]:
    loop = asyncio.get_running_loop()
    requests = []
    for prompt in prompts:
        body: dict[str, Any] = {
            "prompt": prompt, "max_tokens": tokens, "ignore_eos": True, "temperature": 0.0,
        }  # fmt: skip
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        raw = json.dumps(body).encode()
        head = f"POST {ROUTE} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(raw)}\r\n\r\n"
        requests.append(head.encode() + raw)
    began = time.perf_counter()
    ends = []
    for request in requests:
        end = loop.create_future()
        ends.append(end)
        await loop.create_connection(lambda r=request, e=end: _Answer(r, e), host, port)
    results = await asyncio.gather(*ends)
    seconds = time.perf_counter() - began
    return seconds, sum(count for count, _ in results), sum(reads for _, reads in results)


def generator(pipe: Connection, host: str, port: int) -> None:
    """Put rounds of load on the server as they are asked for."""
    import uvloop

    while (job := pipe.recv()) is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            pipe.send(runner.run(_round(host, port, *job)))


# The run


class Server:
    """A real ``penstock serve``."""

    def __init__(self, flags: list[str]) -> None:
        command = [sys.executable, "-m", "penstock.cli", "serve", "--port", "0", "--log-level", "warning"]
        self._process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _URL.search(line):
                self.host, self.port = found[1], int(found[2])
            if "Ctrl-C" in line:
                break
        else:
            raise SystemExit("the server did not start")
        self._api = psutil.Process(self._process.pid)
        # The first child is the engine, the second (if any) the spare.
        self._engine = min(self._api.children(), key=lambda child: child.create_time())

    def cpu(self) -> tuple[float, float]:
        """Return the processor seconds of the API and of the engine process so far."""
        return _cpu(self._api), _cpu(self._engine)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(30)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _spawn(target: Any, *args: Any) -> tuple[Any, Connection]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(there, *args), daemon=True)
    process.start()
    return process, here


def _prompts(count: int, words: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [
        " ".join("".join(rng.choices(letters, k=rng.randint(2, 7))) for _ in range(words))
        for _ in range(count)
    ]


def measure(args: argparse.Namespace, stream: bool, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the paired rounds of one way of answering."""
    rounds = []
    server, llm, load = parts["server"], parts["llm"], parts["load"]
    for number in range(-1, args.rounds):  # one to warm up
        prompts = _prompts(args.requests, args.words, seed=1000 * stream + number)
        llm.send((prompts, args.tokens))
        offline_seconds, offline_tokens = llm.recv()
        api, engine, own = *server.cpu(), _cpu(psutil.Process(parts["load_pid"]))
        load.send((prompts, args.tokens, stream))
        seconds, tokens, reads = load.recv()
        api, engine = (now - then for now, then in zip(server.cpu(), (api, engine), strict=True))
        own = _cpu(psutil.Process(parts["load_pid"])) - own
        assert offline_tokens == tokens == args.requests * args.tokens, (offline_tokens, tokens)
        row = {
            "offline_tokens_per_s": offline_tokens / offline_seconds,
            "server_tokens_per_s": tokens / seconds,
            "ratio": offline_seconds / seconds,
            "reads_per_answer": reads / args.requests,
            "cpu_seconds": {"api": api, "engine": engine, "load_generator": own, "wall": seconds},
        }
        print(
            f"{'stream' if stream else 'whole '} round {number}: offline {row['offline_tokens_per_s']:.0f}, "
            f"server {row['server_tokens_per_s']:.0f} tokens/s, ratio {row['ratio']:.3f}; cpu s: "
            f"api {api:.2f}, engine {engine:.2f}, load {own:.2f} of wall {seconds:.2f}; "
            f"reads/answer {row['reads_per_answer']:.1f}",
            flush=True,
        )
        if number >= 0:
            rounds.append(row)
    ratios = sorted(row["ratio"] for row in rounds)
    return {"rounds": rounds, "median_ratio": median(ratios), "ratios": ratios}


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--save", default="", help="result file or folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--words", type=int, default=24, help="of each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="of each answer")
    parser.add_argument("--stream", choices=["on", "off", "both"], default="both")
    parser.add_argument("flags", nargs="*", help="further flags of the server, after --")
    args = parser.parse_args()
    _, llm = _spawn(offline, {})
    llm.recv()
    server = Server(args.flags)
    process, load = _spawn(generator, server.host, server.port)
    parts = {"server": server, "llm": llm, "load": load, "load_pid": process.pid}
    result = envelope("http-overhead", vars(args))
    try:
        time.sleep(10)  # the spare engine process imports its libraries now
        for stream in {"on": [True], "off": [False], "both": [True, False]}[args.stream]:
            result["streamed" if stream else "whole"] = measure(args, stream, parts)
    finally:
        for pipe in (llm, load):
            pipe.send(None)
        server.close()
    result["note"] = "the load generator shares the machine's cores with the server"
    rows = [
        (name, f"{result[name]['median_ratio']:.3f}  (from {result[name]['ratios'][0]:.3f} to "
               f"{result[name]['ratios'][-1]:.3f})")
        for name in ("streamed", "whole") if name in result
    ]  # fmt: skip
    print_table(f"server / offline, tokens per second, {os.cpu_count()} cores shared by all", rows)
    if args.save:
        path = result_path(args.save, "http-overhead")
        write_result(path, result)
        print(f"saved to {path}")


if __name__ == "__main__":
    main()
