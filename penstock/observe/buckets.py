"""Bucket bounds of all histograms, each with its reason.

Prometheus interpolates inside a bucket, so a quantile is wrong by at most the width of the bucket it falls
in: bounds are dense where targets (SLOs) are usually set, and geometric outside.
"""

from __future__ import annotations

TTFT = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
"""Seconds. A prefix hit answers in milliseconds, people notice from 0.1 s, objectives lie at 0.2 to 5 s, and
a long prompt on a CPU behind a queue can take half an hour. The bounds are those of vLLM's histogram of the
same name: a quantile over replicas of both can only be taken when bounds agree."""

INTER_TOKEN = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
"""Seconds. Reading speed is about 0.2 s per token, objectives lie at 0.02 to 0.2 s; a stall behind a long
prefill shows above 1 s. Bounds agree with vLLM's, for the same reason."""

END_TO_END = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
"""Seconds, for a whole request and its parts (queue, prefill, decode). An answer of a few words takes half a
second, an agent's long one minutes. Bounds agree with vLLM's, for the same reason."""

LENGTH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000)
"""Tokens of a prompt, an answer or a limit: 1-2-5 steps, so that each decade has three bounds up to the
longest contexts in use."""

CHOICES = (1, 2, 5, 10, 20)
"""Answers per request (`n`); nearly always 1, so few bounds."""

PREEMPTIONS = (0, 1, 2, 3, 5, 10, 20)
"""Times that one request lost its memory. The first bound is 0: the share above it is what to watch."""
