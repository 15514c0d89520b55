"""Room around urgent requests: what others may not take while they run."""

from __future__ import annotations

import math

from penstock.core.policy import EngineView, SequenceView, Watcher
from penstock.policies.registry import register
from penstock.policies.reserve.known import Known


@register("reserve", "headroom")
class Headroom(Watcher):
    """While urgent requests run, others are admitted only if a share of the KV cache stays free beside them.

    This is the virtual usage by which Llumnix keeps urgent requests apart, inside one engine: each of h
    urgent ones counts for its blocks and 1/h of the headroom, so together for their blocks and the headroom.
    It keeps batches, and with them steps, small while they run, and leaves them room to grow. The urgent
    themselves need the blocks of their known tokens only; while none runs, it is as ``known``. Together with
    the order ``priority > fcfs``, by which they overtake and displace. Source: Sun et al., "Llumnix: Dynamic
    Scheduling for Large Language Model Serving" (OSDI 2024), section 4.4.

    Args:
        share: of the KV cache, in [0, 1).
        below: priorities smaller than this are urgent (the default priority is 0).
    """

    for_urgent = True

    def __init__(self, share: float = 0.25, below: int = 0) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"the headroom is a share of the KV cache in [0, 1), got {share!r}")
        if not isinstance(below, int):
            raise ValueError(f"urgent are priorities below a whole number, got {below!r}")
        self._share, self._below = float(share), below
        self._usual = Known()
        self.urgent = 0
        """Urgent sequences running."""

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Count it if it is urgent."""
        self.urgent += seq.spec.priority < self._below

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """Count it no more."""
        self.urgent -= seq.spec.priority < self._below

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Count it no more."""
        self.urgent -= running and seq.spec.priority < self._below

    def demand(self, seq: SequenceView, view: EngineView) -> int:
        """Return the pages of the known tokens, and the headroom where it is owed."""
        pages = -(-seq.target // view.page_size)
        if seq.spec.priority < self._below:
            return pages
        if not self.urgent:
            return self._usual.demand(seq, view)
        return pages + math.ceil(view.blocks_total * self._share)
