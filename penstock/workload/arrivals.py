"""When requests are due: seconds from the start of the run, ascending, deterministic by seed.

The gaps are unit-mean draws divided by the rate. Two runs with one seed and different rates therefore see the
same pattern, faster or slower, which makes their comparison sharp (common random numbers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def gamma_arrivals(count: int, rate: float, burstiness: float, rng: np.random.Generator) -> list[float]:
    """Return due times whose gaps follow a Gamma distribution.

    Args:
        count: number of requests; the first is due at 0.
        rate: requests per second, > 0; infinity makes all due at once.
        burstiness: shape of the Gamma. 1 is a Poisson process, below 1 burstier, above 1 more regular; the
            coefficient of variation of the gaps is ``1 / sqrt(burstiness)``.
        rng: source of chance.
    """
    if math.isinf(rate):
        return [0.0] * count
    gaps = rng.gamma(burstiness, 1 / burstiness, count)
    gaps[:1] = 0.0
    return [float(due) for due in np.cumsum(gaps) / rate]


def replay(times: Sequence[float], speed: float = 1.0) -> list[float]:
    """Return recorded times shifted to begin at 0 and played ``speed`` times as fast."""
    return [(time - times[0]) / speed for time in times]
