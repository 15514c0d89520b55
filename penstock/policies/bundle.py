"""From the schedule's configuration to one policy per slot."""

from __future__ import annotations

from penstock.config.settings import CacheConfig, ScheduleConfig
from penstock.core.policy import Policies
from penstock.policies.compose import Stack, cautions, check
from penstock.policies.parse import parse_policy


def parse_policies(config: ScheduleConfig) -> Policies:
    """Build the configured policies, whether they go together or not.

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


def build_policies(config: ScheduleConfig, cache: CacheConfig | None = None) -> Policies:
    """Build the configured policies.

    Args:
        config: one string per slot.
        cache: for ``enable_prefix_caching``.

    Raises:
        ConfigError: a slot's string cannot be read or used, or policies do not go together.
    """
    policies = parse_policies(config)
    check(Stack(policies, config, (cache or CacheConfig()).enable_prefix_caching))
    return policies


def policy_cautions(
    config: ScheduleConfig, cache: CacheConfig | None = None, cost: bool | None = None
) -> tuple[str, ...]:
    """Return what to know of the configured policies' combination before they start, a line each.

    Args:
        config: one string per slot.
        cache: for ``enable_prefix_caching``.
        cost: whether the engine knows its step times; None: not known here.

    Raises:
        ConfigError: as `build_policies`.
    """
    caching = (cache or CacheConfig()).enable_prefix_caching
    return cautions(Stack(build_policies(config, cache), config, caching, cost))
