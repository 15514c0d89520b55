"""Every code block of the cookbook runs, in order, in a process of its own (it registers policies)."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"


def blocks():
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_runs():
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks())], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("(simulated)") == 3


def test_a_new_order_is_twenty_lines():
    assert sum(1 for line in blocks()[0].splitlines() if line.strip()) <= 20
