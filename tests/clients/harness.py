"""What the client scripts share. They run in environments of their own, so this imports nothing but Python's.

A script is a list of checks against ``--base-url``; each prints one line, and the exit status tells the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
import urllib.request
from importlib import metadata


class Checks:
    """Runs checks and counts them.

    Args:
        package: distribution whose version is printed.
    """

    def __init__(self, package: str) -> None:
        parser = argparse.ArgumentParser(description=f"Run {package} against a Penstock server.")
        parser.add_argument("--base-url", default="http://127.0.0.1:8000", help="where the server is")
        parser.add_argument("--api-key", default="none")
        parser.add_argument("--only", default="", help="run the checks whose name contains this")
        given = parser.parse_args()
        self.root = given.base_url.rstrip("/").removesuffix("/v1")
        self.api = f"{self.root}/v1"
        self.key = given.api_key
        self.model = self.get("/v1/models")["data"][0]["id"]
        self.package, self.version = package, metadata.version(package)
        self._only, self._passed, self._failed = given.only, 0, []

    def get(self, path: str) -> dict:
        """Return the JSON at a path of the server."""
        headers = {"Authorization": f"Bearer {self.key}"}
        with urllib.request.urlopen(urllib.request.Request(self.root + path, headers=headers)) as reply:
            return json.load(reply)

    def __call__(self, function):
        """Run a check now, under its name."""
        name = function.__name__
        if self._only not in name:
            return function
        began = time.perf_counter()
        try:
            function()
        except Exception:
            self._failed.append(name)
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
        else:
            self._passed += 1
            print(f"ok   {name} ({time.perf_counter() - began:.1f} s)", flush=True)
        return function

    def end(self) -> None:
        """Print the verdict and exit: 1 if a check failed."""
        print(f"{self.package} {self.version}: {self._passed} passed, {len(self._failed)} failed", flush=True)
        sys.exit(1 if self._failed else 0)
