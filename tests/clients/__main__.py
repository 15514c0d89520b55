"""`make clients`: every client in an environment of its own, against one server."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import nullcontext

from tests.clients.environments import CLIENTS, Client, NoEnvironment, prepare
from tests.clients.serving import penstock_serve


def main() -> int:
    """Run the clients; 1 if a check failed. A client that cannot be installed is skipped, with the reason."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients", description=main.__doc__)
    parser.add_argument("--base-url", default="", help="a running server; by default one is started")
    parser.add_argument("--only", default="", help="clients whose name contains this")
    parser.add_argument("--upgrade", action="store_true", help="take the newest version of each client")
    given = parser.parse_args()
    chosen = [client for client in CLIENTS if given.only in client.name]
    verdicts = {client.name: _prepared(client, given.upgrade) for client in chosen}
    with nullcontext(given.base_url) if given.base_url else penstock_serve() as url:
        for client in chosen:
            if not verdicts[client.name]:
                verdicts[client.name] = _exercised(client, url)
    print("\n" + "\n".join(f"{name:18} {verdict}" for name, verdict in verdicts.items()))
    return 1 if any(" 0 failed" not in one and "skipped" not in one for one in verdicts.values()) else 0


def _prepared(client: Client, upgrade: bool) -> str:
    began = time.perf_counter()
    try:
        prepare(client, upgrade)
    except NoEnvironment as exc:
        return f"skipped: {exc}"
    print(f"{client.name}: environment ready after {time.perf_counter() - began:.0f} s", flush=True)
    return ""


def _exercised(client: Client, url: str) -> str:
    print(f"\n--- {client.name}", flush=True)
    done = subprocess.run(
        client.command(url), cwd=client.home, stdout=subprocess.PIPE, text=True, timeout=600
    )
    print(done.stdout, end="", flush=True)
    last = done.stdout.strip().splitlines()[-1:]
    return last[0] if last else f"ended with status {done.returncode}"


sys.exit(main())
