"""Resident memory of a fresh process stays within the memory plan of the bundled model."""

import json
import subprocess
import sys

SCRIPT = """
import json
from penstock.config.settings import Config
from penstock.executors.inline import build_executor
from penstock.core.request import RequestSpec, SamplingParams
from penstock.engine.core import build_engine

executor = build_executor(Config())
fresh = executor.memory_report()
core = build_engine(executor, executor.config.schedule, executor.config.cache)
for n in range(12):
    params = SamplingParams(max_tokens=3, top_p=0.9, logprobs=2, prompt_logprobs=1, seed=n)
    core.submit(RequestSpec(id=str(n), prompt_ids=tuple(range(5, 100 + n)), sampling=params))
while core.has_work():
    core.tick()
used = executor.memory_report()
print(json.dumps([[r.at_rest, r.total, r.resident, r.off_by, r.text()] for r in (fresh, used)]))
"""


def test_resident_memory_is_within_a_tenth_of_the_plan():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    fresh, used = json.loads(done.stdout.splitlines()[-1])
    at_rest, _, resident, off_by, text = fresh
    assert abs(resident / at_rest - 1) <= 0.10, text
    assert abs(off_by) <= 0.10, text
    assert abs(used[3]) <= 0.10, used[4]
