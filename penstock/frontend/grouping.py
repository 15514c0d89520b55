"""The order in which a list of prompts is best run: those that share a prefix together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.request import RequestSpec
from penstock.workload.prefix_groups import by_decode_ratio, find_groups


def arrange(specs: Sequence[RequestSpec], page: int) -> list[tuple[int, RequestSpec]]:
    """Return the sequences of an offline job in the order to submit them, marked with their groups.

    Groups are found over whole KV pages, since only those are shared; groups that generate most per prompt
    token that they compute come first.

    Args:
        specs: the whole job.
        page: tokens per KV page.

    Returns:
        Place in ``specs`` and sequence.
    """
    prompts = [spec.prompt_ids for spec in specs]
    groups = find_groups(prompts, unit=max(1, page))
    ordered = by_decode_ratio(prompts, groups, [spec.sampling.max_tokens for spec in specs])
    arranged = []
    for number, group in enumerate(ordered):
        for place in group.members:
            spec = specs[place]
            if group.shared:
                spec = msgspec.structs.replace(spec, group=f"prefix-{number}", group_tokens=group.shared)
            arranged.append((place, spec))
    return arranged
