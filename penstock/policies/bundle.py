"""From the schedule's configuration to one policy per slot."""

from __future__ import annotations

from penstock.config.settings import ScheduleConfig
from penstock.core.policy import Policies
from penstock.policies.parse import parse_policy


def build_policies(config: ScheduleConfig) -> Policies:
    """Build the configured policies.

    Raises:
        ConfigError: a slot's string cannot be read or used.
    """
    return Policies(
        order=parse_policy("order", config.order),
        shape=parse_policy("shape", config.shape),
        preempt=parse_policy("preempt", config.preempt),
        evict=parse_policy("evict", config.evict),
        admit=parse_policy("admit", config.admit),
        reserve=parse_policy("reserve", config.reserve),
        retain=parse_policy("retain", config.retain),
    )
