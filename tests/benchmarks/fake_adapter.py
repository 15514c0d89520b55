"""An adapter without an engine: answers as its first argument says. Run as a script by the tests."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "peers" / "adapters"))

from wire import Done, serve


class Fake:
    def __init__(self, model, settings):
        print("noise on stdout must not disturb the protocol")
        if KIND == "broken":
            raise ValueError("no such model")
        self.details = {"model": model, "threads": settings["threads"]}

    def run(self, requests):
        if KIND == "dies":
            print("these are the last words", file=sys.stderr, flush=True)
            sys.exit(3)
        if KIND == "hangs":
            time.sleep(60)
        done = []
        for request in requests:
            one = Done()
            for count in range(1, request["output"] + 1 - (KIND == "short")):
                one.saw(count, time.perf_counter())
            if KIND == "ends-only":
                one.times = one.times[-1:]
            done.append(one)
        return done


def prepare(model, into, precision):
    Path(into).mkdir()
    (Path(into) / precision).write_text(model)


KIND = sys.argv[1]
serve(Fake, ("pytest", "no-such-package"), prepare)
