"""Room for the highest use that the running and the newcomer will reach together."""

from __future__ import annotations

from penstock.core.policy import EngineView, SequenceView
from penstock.policies.registry import register


@register("reserve", "peak")
class Peak:
    """LightLLM's check: sequences that end sooner give back their blocks before others reach their full size.

    With ``left`` the tokens that a sequence may still generate, sorted descending, use peaks at the end of
    one of them: ``max over i of left_i * i + sum of the sizes of the first i``. It admits more than `Final`
    where answers' limits differ, and assumes that all advance together; prompts in chunks and steps that
    leave somebody out can break that, and then growth preempts. The 2U bound of VTC does not hold under it
    (see docs/systems/vtc.md). O(n log n) per candidate, n running.
    """

    def demand(self, seq: SequenceView, view: EngineView) -> int:
        """Return the blocks of the peak, less those that the running hold already."""
        page = view.page_size
        held = 0
        sizes = [(seq.max_total - seq.target, seq.target)]
        for other in view.running_sequences():
            held += len(other.blocks)
            sizes.append((other.max_total - other.target, other.target))
        sizes.sort(reverse=True)
        peak = total = 0
        for count, (left, size) in enumerate(sizes, 1):
            total += size
            # Each may leave a block partly filled: the sum of rounded-up sizes is at most this, and equal for
            # one sequence, so that a request as large as the pool can still be admitted alone.
            peak = max(peak, (total + left * count + (page - 1) * count) // page)
        return peak - held
