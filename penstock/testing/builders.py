"""Short ways to make the objects that tests need."""

from __future__ import annotations

from typing import Any

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.executor import ExecutorSpec
from penstock.core.request import RequestSpec, SamplingParams
from penstock.core.scheduler import Scheduler
from penstock.core.state import SchedulerState
from penstock.policies.bundle import build_policies

_SAMPLING = frozenset(SamplingParams.__struct_fields__)


def make_spec(**changes: Any) -> ExecutorSpec:
    """Return small executor capacities, changed as given."""
    base: dict[str, Any] = {
        "slots": 8,
        "blocks": 64,
        "page_size": 4,
        "max_model_len": 128,
        "vocab_size": 50,
    }
    return ExecutorSpec(**(base | changes))


def make_request(request_id: str, prompt: list[int] | int, **fields: Any) -> RequestSpec:
    """Return a request; sampling fields may be given beside those of the request.

    Args:
        request_id: its id.
        prompt: token ids, or how many to make up.
        **fields: fields of RequestSpec or SamplingParams.
    """
    ids = tuple(range(1, prompt + 1)) if isinstance(prompt, int) else tuple(prompt)
    sampling = SamplingParams(**{k: v for k, v in fields.items() if k in _SAMPLING})
    rest = {k: v for k, v in fields.items() if k not in _SAMPLING}
    return RequestSpec(id=request_id, prompt_ids=ids, sampling=sampling, **rest)


def make_scheduler(spec: ExecutorSpec, *, max_tokens: int = 32, **schedule: Any) -> Scheduler:
    """Return a scheduler; ``schedule`` holds fields of ScheduleConfig or ``prefix_caching``.

    Unless asked to, nobody waits for another one's prefix: made-up prompts are prefixes of each other.
    """
    caching = schedule.pop("prefix_caching", True)
    fields: dict[str, Any] = {"admit": "unlimited", "prefix_wait": False}
    config = ScheduleConfig(**(fields | schedule))
    return Scheduler(
        SchedulerState(
            spec,
            build_policies(config, CacheConfig(enable_prefix_caching=caching)),
            max_seqs=min(config.max_num_seqs, spec.slots),
            max_tokens=max_tokens,
            prefix_caching=caching,
            prefix_wait=config.prefix_wait,
        )
    )
