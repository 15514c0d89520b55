"""``penstock collect-env``: what a bug report needs."""

from __future__ import annotations

import argparse
import json

from penstock.cli.parser import Parser, Verbs, add_verb

_TEXT = """
Nothing about prompts, models or keys is read.

examples:
  penstock collect-env
  penstock collect-env --json > env.json
"""


def add(verbs: Verbs[Parser]) -> None:
    """Add the verb."""
    parser = add_verb(verbs, "collect-env", run, "Print versions and hardware for a bug report.", _TEXT)
    parser.add_argument("--json", action="store_true", help="print JSON [default: lines]")


def run(args: argparse.Namespace) -> int:
    """Print the environment."""
    from penstock.bench.machine import machine, versions

    found = {"versions": versions(), "machine": machine(devices=True)}
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for group in found.values():
        for name, value in group.items():
            text = ", ".join(map(str, value)) or "none" if isinstance(value, list) else value
            if name == "memory_bytes":
                name, text = "memory", f"{value / 2**30:.1f} GiB"
            print(f"{name:15} {text}")
    return 0
