"""Who wants to hear of what: the overridden methods of every watcher among the policies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from penstock.core.policy import Policies, Watcher


def watchers(policies: Policies) -> Iterator[Watcher]:
    """Yield every watcher among the policies and their parts, each once, outer ones first."""
    seen: list[object] = []
    pending: list[object] = [getattr(policies, slot) for slot in policies.__struct_fields__]
    while pending:
        policy = pending.pop(0)
        if not isinstance(policy, Watcher) or any(policy is other for other in seen):
            continue
        seen.append(policy)
        pending[:0] = policy.parts()
        yield policy


class Watch:
    """The calls to make at each event of a sequence's life; empty lists cost nothing.

    Args:
        policies: one per slot.
    """

    def __init__(self, policies: Policies) -> None:
        found = list(watchers(policies))
        self.bind = self._calls(found, "bind")
        self.arrive = self._calls(found, "on_arrive")
        self.admit = self._calls(found, "on_admit")
        self.tokens = self._calls(found, "on_tokens")
        self.preempt = self._calls(found, "on_preempt")
        self.finish = self._calls(found, "on_finish")

    @staticmethod
    def _calls(found: list[Watcher], name: str) -> list[Callable[..., Any]]:
        return [getattr(w, name) for w in found if getattr(type(w), name) is not getattr(Watcher, name)]
