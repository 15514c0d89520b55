"""The policy slots: narrow questions that the mechanism asks, over read-only views.

A policy returns a key, a number or a choice. It may be unwise; the mechanism clamps budgets, checks
choices and owns every count, so that it can never corrupt. Policies never read wall time (they are given
``now``), never draw from a global random generator and never hold tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from penstock.core.kv.pins import Reason
from penstock.core.plan import PlanShape
from penstock.core.request import RequestSpec

if TYPE_CHECKING:
    from penstock.core.states import SeqState


class SequenceView(Protocol):
    """What a policy may see of a sequence; token counts as in `penstock.core.sequence.Sequence`."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def spec(self) -> RequestSpec: ...  # noqa: D102
    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def arrival(self) -> float: ...  # noqa: D102
    @property
    def state(self) -> SeqState: ...  # noqa: D102
    @property
    def prompt_length(self) -> int: ...  # noqa: D102
    @property
    def generated(self) -> int: ...  # noqa: D102
    @property
    def computed(self) -> int: ...  # noqa: D102
    @property
    def planned(self) -> int: ...  # noqa: D102
    @property
    def target(self) -> int: ...  # noqa: D102
    @property
    def max_total(self) -> int: ...  # noqa: D102
    @property
    def program_arrival(self) -> float: ...  # noqa: D102
    @property
    def blocks(self) -> Sequence[int]: ...  # noqa: D102
    @property
    def preemptions(self) -> int: ...  # noqa: D102
    @property
    def first_scheduled(self) -> float: ...  # noqa: D102


class StepCost(Protocol):
    """Predicts how long a step takes; `penstock.cost` has the models."""

    def step(self, shape: PlanShape) -> float:
        """Return the seconds that a step of this shape takes."""
        ...


class EngineView(Protocol):
    """What a policy may see of the engine; every property is O(1)."""

    @property
    def step(self) -> int:
        """Steps planned so far."""

    @property
    def now(self) -> float:
        """Engine-clock seconds of this step."""

    @property
    def running(self) -> int:
        """Sequences holding a slot."""

    @property
    def waiting(self) -> int:
        """Sequences queued for admission."""

    @property
    def blocks_available(self) -> int:
        """Blocks that could be taken now: free or holding unused cached prefixes."""

    @property
    def blocks_total(self) -> int:
        """Blocks of the device tier."""

    @property
    def blocks_pinned(self) -> int:
        """Blocks kept for programs and groups that are expected back."""

    @property
    def page_size(self) -> int:
        """Tokens per block."""

    @property
    def token_budget(self) -> int:
        """Largest token budget a step may have."""

    @property
    def cost(self) -> StepCost | None:
        """Step times of this engine's model and device, if they are known."""

    def running_sequences(self) -> Iterable[SequenceView]:
        """Return the sequences that hold a slot; the caller must not keep the iterable."""
        ...

    def cached_tokens(self, seq: SequenceView) -> int:
        """Return how many tokens of a waiting sequence the prefix cache holds now.

        O(prompt pages) at first, then O(pages that came or went since it was asked last).
        """
        ...

    def pinned(self, seq: SequenceView) -> bool:
        """Whether pages are pinned for a sequence's program."""
        ...


class StepShape(msgspec.Struct, frozen=True, gc=False):
    """A step's mix, as data that the mechanism interprets and clamps."""

    tokens: int
    """Rows the step may have at most."""
    prefill_tokens: int
    """Rows that may go to prefill at most."""
    chunk: int
    """Prefill rows that one sequence may get at most."""
    decode_first: bool = True
    """Decodes take their rows before prefills do (stall-free); otherwise prefills come first."""
    mix: bool = True
    """Prefills and decodes may share a step; otherwise whichever comes first has it alone."""
    split: bool = True
    """A prompt may be cut to fit what is left of the budget; otherwise it waits for a step without others."""
    stages: tuple[tuple[int, int], ...] = ()
    """If given (and decodes come first), a step's prefills form a cohort that passes the layers in groups,
    one group a step, while decodes pass them all; nobody joins it on the way. Pairs (tokens, groups),
    ascending: a cohort of up to so many tokens takes so many groups; the last pair serves larger ones too."""


class Reject(msgspec.Struct, frozen=True):
    """An admit policy's no: why, and after how many seconds a retry may succeed."""

    reason: str
    retry_after: float | None = None


class Watcher:
    """Base of policies that follow the lives of sequences; override what you need, the rest costs nothing.

    A policy of any slot may be a watcher. Policies made of policies list those in `parts`.
    """

    def parts(self) -> tuple[object, ...]:
        """Return the policies that this one is made of, for the mechanism to bind and inform."""
        return ()

    def bind(self, view: EngineView) -> None:
        """Receive the engine's view, once, before anything else."""

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """A new sequence is about to join the queue."""

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """A sequence left the queue for a slot; ``seq.preemptions > 0`` if not for the first time."""

    def on_tokens(self, seq: SequenceView, prefill: int, decode: int) -> None:
        """Work landed: prompt tokens computed for the first time, and tokens generated."""

    def on_preempt(self, seq: SequenceView, now: float) -> None:
        """A running sequence lost its place and is about to join the queue again."""

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """A sequence reached its terminal event; ``running``: it held a slot until now."""


class OrderIndex(Protocol):
    """The waiting sequences, arranged so that their order finds the next candidate quickly."""

    def add(self, seq: SequenceView) -> None:
        """Take a sequence in."""
        ...

    def remove(self, seq: SequenceView) -> None:
        """Take a sequence out that was added."""
        ...

    def candidates(self, now: float) -> Iterator[SequenceView]:
        """Yield sequences best first, lazily: the one yielded may be removed, and others added, in between.

        Leaving some out (whose tenant's turn it is not, say) is allowed as long as, whenever sequences
        wait and nothing runs, at least one is yielded.
        """
        ...


class OrderPolicy(Protocol):
    """Who goes first, among the waiting and among the running.

    `penstock.policies.order.KeyOrder` implements all of it but `key`.
    """

    static: bool
    """True if a sequence's key never changes while it lives; the running are then kept sorted."""
    stops: bool
    """A candidate that finds no room holds up those behind it (no overtaking); otherwise they are tried."""

    def key(self, seq: SequenceView, now: float) -> Any:
        """Return a sortable key; smaller goes first. The mechanism breaks ties by submission order."""
        ...

    def rank(self, seqs: Iterable[SequenceView], now: float) -> Iterator[SequenceView]:
        """Yield every given sequence once, best first (the running, when they are not kept sorted)."""
        ...

    def index(self, inner: Callable[[], OrderIndex] | None = None) -> OrderIndex:
        """Return an empty arrangement of the waiting; among its equals those of ``inner`` decide.

        Without ``inner``, equals go by submission order.
        """
        ...

    def may_displace(self, waiting: SequenceView, running: SequenceView, now: float) -> bool:
        """Say whether a waiting sequence is worth preempting a running one for its place.

        Whoever may be displaced ranks below everybody who may not: the mechanism asks about the running
        worst first, and stops at the first no.
        """
        ...


class ReservePolicy(Protocol):
    """How much room must be left for a waiting sequence to be admitted."""

    def demand(self, seq: SequenceView, view: EngineView) -> int:
        """Return the blocks that must be obtainable, those of its cached prefix included.

        The mechanism takes the blocks of the known tokens only; less than these cannot be demanded.
        """
        ...


class RetainPolicy(Protocol):
    """Whether the KV of a sequence that ends stays pinned, and for how long.

    What a program's turn leaves is kept for its next turn; what a group's member leaves, for the others.
    """

    @property
    def reason(self) -> Reason | None:
        """On whose behalf pages are kept; who has no such owner leaves nothing. None: pin nothing."""

    def seconds(self, seq: SequenceView, view: EngineView) -> float:
        """Return how long nobody may evict the sequence's KV; 0 leaves it to the prefix cache.

        Asked once of each sequence with an owner, just before it leaves. 0 also ends what was pinned for
        the owner before. Sequences that did not end by themselves leave nothing, whatever the answer.
        """
        ...


class ShapePolicy(Protocol):
    """How many tokens, and which mix, the next step has."""

    def shape(self, view: EngineView) -> StepShape:
        """Return the shape of the step that is about to be planned."""
        ...


class PreemptPolicy(Protocol):
    """Who gives way when blocks run out."""

    def choose(self, candidates: Sequence[SequenceView], need: int, view: EngineView) -> SequenceView:
        """Pick one victim.

        Args:
            candidates: at least one, best-ranked first; all rank below the sequence in need.
            need: blocks that are short.
            view: the engine.
        """
        ...


class EvictPolicy(Protocol):
    """Which unused cached prefix goes first."""

    def key(self, node: PrefixNodeView) -> Any:
        """Return a sortable key; smaller is evicted first. Read once, when the node falls idle."""
        ...


class PrefixNodeView(Protocol):
    """What an evict policy may see of a cached page."""

    @property
    def last_used(self) -> float:
        """Engine-clock seconds of its last use."""

    @property
    def depth(self) -> int:
        """Pages from the root, 1 for the first."""

    @property
    def hits(self) -> int:
        """Times it was taken from the cache."""

    @property
    def namespace(self) -> Hashable:
        """The isolation domain it belongs to."""


class AdmitPolicy(Protocol):
    """Accept a new request, or turn it away before it costs anything."""

    def decide(self, spec: RequestSpec, view: EngineView) -> Reject | None:
        """Return None to accept."""
        ...


class ReplicaView(Protocol):
    """What a route policy may see of one engine among several."""

    @property
    def number(self) -> int:
        """Its place among the replicas."""

    @property
    def outstanding(self) -> int:
        """Requests given to it that have not ended."""

    @property
    def engine(self) -> EngineView:
        """The engine as its own policies see it."""

    def cached_tokens(self, prompt_ids: tuple[int, ...]) -> int:
        """Return how many leading tokens of a prompt its prefix cache holds."""
        ...


class RoutePolicy(Protocol):
    """Which replica gets a request."""

    def choose(self, spec: RequestSpec, replicas: Sequence[ReplicaView], now: float) -> int:
        """Return a place in ``replicas``."""
        ...

    def on_finish(self, request_id: str, replica: int, now: float) -> None:
        """Take note that a request ended (however), by the number of its replica."""
        ...


class Policies(msgspec.Struct, frozen=True):
    """One policy per slot."""

    order: OrderPolicy
    shape: ShapePolicy
    preempt: PreemptPolicy
    evict: EvictPolicy
    admit: AdmitPolicy
    reserve: ReservePolicy
    retain: RetainPolicy
