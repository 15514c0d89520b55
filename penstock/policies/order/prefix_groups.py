"""Prefix groups one after the other, those that generate most for what they read first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator

from sortedcontainers import SortedDict

from penstock.core.policy import OrderIndex, SequenceView
from penstock.policies.order.base import KeyOrder
from penstock.policies.order.index import SortedIndex
from penstock.policies.registry import register

_UNRANKED = float("inf")


def _group_of(seq: SequenceView) -> Hashable:
    """The group's name within its tenant; without one a sequence is a group of its own."""
    spec = seq.spec
    return seq.number if spec.group is None else (spec.tenant, spec.group)


class _Group:
    """The waiting members of one group."""

    def __init__(self, members: OrderIndex, first: int) -> None:
        self.members = members
        self.first = first
        self.waiting = 0
        self.decode = 0
        self.prefill = 0

    def add(self, seq: SequenceView) -> None:
        shared = min(seq.spec.group_tokens, seq.prompt_length)
        if not self.waiting and not self.prefill:
            self.prefill = shared
        self.prefill += seq.prompt_length - shared
        self.decode += seq.max_total - seq.prompt_length
        self.waiting += 1
        self.members.add(seq)


class _GroupIndex:
    """Groups begun, in the order of their beginning, then the others by decode-to-prefill ratio."""

    def __init__(self, policy: PrefixGroups, inner: Callable[[], OrderIndex] | None, by_ratio: bool) -> None:
        self._policy = policy
        self._inner = inner or (lambda: SortedIndex(lambda seq, now: seq.number))
        self._by_ratio = by_ratio
        self._groups: dict[Hashable, _Group] = {}
        self._places: dict[Hashable, tuple[float, float, int]] = {}
        self._order: SortedDict = SortedDict()

    def _place(self, name: Hashable) -> None:
        """Put a group where it belongs now; 0 elements left take it out."""
        old = self._places.pop(name, None)
        if old is not None:
            del self._order[old]
        group = self._groups[name]
        if not group.waiting:
            del self._groups[name]
            return
        ratio = group.decode / max(1, group.prefill) if self._by_ratio else 0.0
        place = self._places[name] = (self._policy.begun(name), -ratio, group.first)
        self._order[place] = name

    def add(self, seq: SequenceView) -> None:
        name = _group_of(seq)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(self._inner(), seq.number)
        group.add(seq)
        self._place(name)

    def remove(self, seq: SequenceView) -> None:
        name = _group_of(seq)
        group = self._groups[name]
        group.members.remove(seq)
        group.waiting -= 1
        if not group.waiting:
            self._place(name)

    def candidates(self, now: float) -> Iterator[SequenceView]:
        passed: set[Hashable] = set()
        while True:
            name = next((name for name in self._order.values() if name not in passed), None)
            if name is None:
                return
            passed.add(name)
            if self._policy.begin(name):
                self._place(name)
            yield from self._groups[name].members.candidates(now)


@register("order", "prefix-groups")
class PrefixGroups(KeyOrder):
    """Members of a group together; groups by the tokens they generate per prompt token that they compute.

    What decodes much starts early, so that its decodes fill the steps in which the rest prefills, and the end
    of a job is not left to a few long answers. A group that was begun goes before those that were not. The
    tokens to generate are taken from ``max_tokens``. Meant for offline jobs: whoever sends groups with much
    to generate goes first for ever. Source: "BatchLLM" (arXiv 2412.03594).

    Args:
        by: ``ratio``, or ``arrival`` to leave groups in the order of their first members.
    """

    needs_prefix_cache = "'fcfs'"
    starves = "groups that generate less per prompt token"

    def __init__(self, by: str = "ratio") -> None:
        if by not in ("ratio", "arrival"):
            raise ValueError(f"by is 'ratio' or 'arrival', got {by!r}")
        self._by_ratio = by == "ratio"
        self._live: Counter[Hashable] = Counter()
        self._ranks: dict[Hashable, int] = {}
        self._begun = 0

    def begun(self, name: Hashable) -> float:
        """Return a group's place among those begun; infinite for one that was not."""
        return self._ranks.get(name, _UNRANKED)

    def begin(self, name: Hashable) -> bool:
        """Give a group the next place; False if it has one."""
        if name in self._ranks:
            return False
        self._begun += 1
        self._ranks[name] = self._begun
        return True

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Count the group's members."""
        self._live[_group_of(seq)] += 1

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Forget the group with its last member."""
        name = _group_of(seq)
        self._live[name] -= 1
        if self._live[name] <= 0:
            del self._live[name]
            self._ranks.pop(name, None)

    def key(self, seq: SequenceView, now: float) -> float:
        """Return the place of its group; it has one before any member runs, and keeps it."""
        return self._ranks.get(_group_of(seq), _UNRANKED)

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an arrangement of groups, each with an index of its own."""
        return _GroupIndex(self, inner, self._by_ratio)
