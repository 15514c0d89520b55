"""`penstock serve` on the bundled model, as a user starts it, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def penstock_serve(*flags: str, patience: float = 120.0) -> Iterator[str]:
    """Yield the server's address once it is ready; end it afterwards.

    Raises:
        RuntimeError: it did not start; carries what it printed.
    """
    command = [sys.executable, "-m", "penstock.cli", "serve", "--host", "127.0.0.1", "--port", "0", *flags]
    with tempfile.TemporaryFile("w+") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            yield _address(process, log, time.monotonic() + patience)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen, log, deadline: float) -> str:
    while time.monotonic() < deadline:
        log.seek(0)
        said = log.read()
        if found := re.search(r"http://127\.0\.0\.1:\d+", said):
            return found[0]
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start:\n{said[-2000:]}")
