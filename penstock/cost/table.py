"""Published step times of whole models, as data: interpolated lines and linear forms.

Every figure is one that its project published for its own engine; nothing here is fitted to Penstock.
"""

from __future__ import annotations

import msgspec

from penstock.core.plan import PlanShape
from penstock.cost.grid import line
from penstock.cost.model import flatten

MS = 1e-3
ROWS = 16384
"""Tokens up to which lines are tabled."""


class LineTable:
    """Times of lone prefills by tokens and of pure decode steps by batch, in a step that may hold both.

    Decode rows share the pass over the weights with the prefill's, so a mixed step takes the prefill time of
    all rows together, and what decoding takes beyond that of as many prompt rows (contexts read, work per
    sequence). A chunk that attends to earlier tokens pays for the query-key pairs that a lone prompt lacks.

    Args:
        name: what was measured.
        prefill: (tokens, seconds) of one prompt.
        decode: (sequences, seconds).
        pair: seconds per query-key pair of prefill.
        layers: of the model, for layered prefill.
    """

    def __init__(
        self,
        name: str,
        prefill: list[tuple[int, float]],
        decode: list[tuple[int, float]],
        pair: float,
        layers: int = 0,
    ) -> None:
        self.name = name
        self._prefill = line(prefill, ROWS)
        last = 1024
        self._decode = line(decode, last)
        # What decoding takes beyond as many prompt rows.
        self._beyond = [max(0.0, d - p) for d, p in zip(self._decode, self._prefill[: last + 1], strict=True)]
        self._pair = pair
        self._layers = layers

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        shape = flatten(shape, self._layers)
        decodes = min(shape.decodes, len(self._decode) - 1)
        rows, prompt = min(shape.tokens, ROWS), shape.prefill_tokens
        if not prompt:
            return self._decode[decodes]
        extra = self._pair * (shape.prefill_pairs - prompt * (prompt + 1) / 2)
        floor = self._prefill[0]
        return max(floor, self._prefill[rows] + extra) + self._beyond[decodes]

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        return f"measured table of {self.name}"


class LinearTable(msgspec.Struct, frozen=True):
    """DistServe's form (its simulator, ``simdistserve``), milliseconds, divided by the pipeline stages.

    Prefill: a + b * sum(n) + c * sum(n^2). Decode: a + b * sum(context + 1) + c * batch, with one set of
    coefficients below `LARGE` sequences and one from there on. Every prefill takes a further millisecond per
    stage, every step 2 ms and 1e-4 ms per token. DistServe never mixes the two; here a mixed step takes the
    larger fixed part once.
    """

    name: str
    prefill: tuple[float, float, float]
    small: tuple[float, float, float]
    large: tuple[float, float, float]
    pp: int = 1
    layers: int = 0

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        shape = flatten(shape, self.layers)
        base = work = 0.0
        if shape.decodes:
            base, per_context, per_sequence = self.large if shape.decodes >= LARGE else self.small
            work = per_context * shape.kv_tokens + per_sequence * shape.decodes
        constant = 2.0 + 1e-4 * shape.tokens
        if shape.prefill_tokens:
            a, b, c = self.prefill
            base = max(base, a)
            # The sum of squares of lone prompts, by their query-key pairs; contexts are counted the same way.
            work += b * shape.prefill_tokens + c * max(0, 2 * shape.prefill_pairs - shape.prefill_tokens)
            constant += self.pp
        return ((base + work) / self.pp + constant) * MS

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        stages = f", {self.pp} stages" if self.pp > 1 else ""
        return f"published linear model of {self.name}{stages}"


class RateTable(msgspec.Struct, frozen=True):
    """A rate per prompt token and a time per decode step, whatever the batch."""

    name: str
    prompt: float
    """Seconds per prompt token."""
    decode: float
    """Seconds of a step that decodes."""
    layers: int = 80

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        shape = flatten(shape, self.layers)
        return self.prompt * shape.prefill_tokens + (self.decode if shape.decodes else 0.0)

    def describe(self) -> str:
        """Return one line that says what is modelled."""
        return f"rates of {self.name}"


LARGE = 95

# sarathi-serve repository: Yi-34B, two A100-80G, milliseconds. A quadratic through the prefills has 6.9e-6 ms
# per squared token, which is 1.38e-5 ms per pair.
YI_PREFILL = {128: 48.0, 512: 105.6, 1024: 214.0, 2048: 366.0, 4096: 758.0, 8192: 1863.0, 16384: 4407.0}
YI_DECODE = {1: 46.8, 4: 48.8, 8: 69.7, 16: 77.3, 32: 87.9, 64: 127.8, 128: 189.3}
YI_PAIR = 1.38e-5

# DistServe repository, A100-80G: (model, cards) -> prefill, decode below and from 95 sequences. For OPT-66B
# only the small decode coefficients are known and serve for every batch.
DISTSERVE = {
    ("opt-13b", 1): ((18.10, 0.1019, 7.12e-6), (19.93, 6.27e-4, 0.0385), (7.17, 5.80e-4, 0.1583)),
    ("opt-13b", 2): ((14.74, 0.0686, 2.45e-6), (13.29, 3.41e-4, 0.0630), (10.64, 3.12e-4, 0.0856)),
    ("opt-13b", 4): ((12.06, 0.0381, 5.2e-7), (10.26, 1.88e-4, 0.0327), (10.48, 1.71e-4, 0.0457)),
    ("opt-66b", 4): ((29.44, 0.1514, 8.3e-6), (30.76, 4.52e-4, 0.0633), (30.76, 4.52e-4, 0.0633)),
}
OPT_LAYERS = {"opt-13b": 40, "opt-66b": 64}
VLLM_OPT_13B = ((22.05, 0.1405, 8.08e-6), (23.48, 5.93e-4, 0.0607), (20.21, 4.91e-4, 0.1200))
"""DistServe's coefficients for vLLM's engine, OPT-13B on one card."""
DISTSERVE_KV_TOKENS = {("opt-13b", 1): 66_144, ("opt-13b", 2): 163_008, ("opt-66b", 4): 78_496}

# Hexgen-Flow repository, Llama-3.1-70B: stage -> prompt tokens, output tokens, seconds on A100 and on A6000.
TEXT2SQL = {
    "information retriever": (308, 5, 0.225, 0.487),
    "keywords": (667, 45, 1.136, 2.11),
    "candidate SQL": (11748, 678, 18.24, 34.27),
    "revise": (5963, 79, 3.33, 8.03),
    "unit tester": (275, 4, 0.174, 0.39),
    "generate unit test": (1109, 103, 2.539, 4.56),
    "evaluate": (961, 22, 0.867, 1.79),
}
TEXT2SQL_TOKEN = {"a100-80g": 0.035, "a6000": 0.058, "l40s": 0.0545}
"""Seconds per decoded token that the same repository gives under load."""
# Least relative squares through the stage times (at most 10 % off each): seconds per prompt token and per
# decoded token. The L40S has no stage times; it is placed by its decode rate beside the A6000's.
TEXT2SQL_RATES = {"a100-80g": (3.31e-4, 0.0212), "a6000": (9.65e-4, 0.0338), "l40s": (9.06e-4, 0.0318)}


def built_in(model: str, card: str, tp: int, pp: int) -> LineTable | LinearTable | RateTable | None:
    """Return the published table for a model on so many cards of a kind, or None."""
    if model == "text2sql" and card in TEXT2SQL_RATES and tp == pp == 1:
        return RateTable(f"Llama-3.1-70B Text2SQL on {card}", *TEXT2SQL_RATES[card])
    if card != "a100-80g":
        return None
    if (model, tp, pp) == ("yi-34b", 2, 1):
        prefill, decode = ([(n, ms * MS) for n, ms in data.items()] for data in (YI_PREFILL, YI_DECODE))
        return LineTable("Yi-34B on two A100-80G", prefill, decode, YI_PAIR * MS, layers=60)
    if (model, tp) == ("opt-13b-vllm", 1):
        return LinearTable("OPT-13B in vLLM on A100-80G", *VLLM_OPT_13B, pp, 40)
    if (model, tp) in DISTSERVE:
        return LinearTable(
            f"{model.upper()} on {tp} x A100-80G", *DISTSERVE[model, tp], pp, OPT_LAYERS[model]
        )
    return None
