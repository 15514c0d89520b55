"""An adapter's process seen from the runner: orders out, answers in, time limits, memory."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self


class AdapterError(Exception):
    """An adapter failed, answered nonsense or took too long; the text says which."""


class Adapter:
    """A running adapter, in a process group of its own.

    Args:
        command: what starts it.
        log: file that takes all it prints.
        environment: variables set for it.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.started = time.perf_counter()
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._stuck = False
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        self._answers: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._process.stdout or ():
            self._answers.put(line)
        self._answers.put(None)

    def ask(self, seconds: float, **order: Any) -> dict[str, Any]:
        """Send an order and return its answer.

        Raises:
            AdapterError: see there.
        """
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=seconds)
        except queue.Empty:
            self._stuck = True  # an answer that still comes would be taken for the next one's
            raise AdapterError(f"no answer to {order['op']!r} after {seconds:g} s") from None
        except OSError:
            line = None
        if line is None:
            status = self._process.wait()
            raise AdapterError(
                f"ended with status {status} at {order['op']!r}; its last words: {self._last()}"
            )
        try:
            answer = json.loads(line)
        except ValueError:
            raise AdapterError(f"answered {line[:100]!r}, which is no JSON") from None
        if not isinstance(answer, dict):
            raise AdapterError(f"answered {line[:100]!r}, which is no object")
        if "error" in answer:
            raise AdapterError(str(answer["error"]))
        return answer

    def _last(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return (lines or ["none"])[-1][:300]

    def peak_memory(self) -> int | None:
        """Return the peak of the resident bytes of it and its children; None where /proc tells nothing.

        The sum of each process's own peak: at least the peak of the sum.
        """
        return tree_peak(self._process.pid)

    def close(self) -> None:
        """End it and whatever it started."""
        if self._process.poll() is None and not self._stuck:
            with suppress(AdapterError, subprocess.TimeoutExpired):
                self.ask(5.0, op="quit")
                self._process.wait(5)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # of an order that nobody was there to read
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def tree_peak(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return the summed peaks (VmHWM) of a process and its descendants, in bytes."""
    parents: dict[int, list[int]] = {}
    peaks: dict[int, int] = {}
    for folder in proc.glob("[0-9]*"):
        try:
            status = (folder / "status").read_text(encoding="utf-8")
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        parents.setdefault(int(fields["PPid"]), []).append(int(folder.name))
        peaks[int(folder.name)] = int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    if pid not in peaks:
        return None
    total, left = 0, [pid]
    while left:
        one = left.pop()
        total += peaks.get(one, 0)
        left += parents.get(one, [])
    return total
