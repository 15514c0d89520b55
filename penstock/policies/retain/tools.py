"""What programs do between their turns, as the engine sees it: durations by tool, turns, evicted returns."""

from __future__ import annotations

from collections import OrderedDict, deque

from penstock.core.kv.pins import Owner
from penstock.core.policy import EngineView, SequenceView, Watcher
from penstock.core.programs import owner_of
from penstock.policies.retain.lifetimes import TurnCorrelation, Window

PROGRAMS = 65536
"""Programs remembered; one that never says which turn is its last is forgotten when others push it out."""
TOOLS = 1024
"""Tools remembered: their names come from clients."""


class _Program:
    __slots__ = ("context", "ended", "live", "tool", "turns")

    def __init__(self) -> None:
        self.live = 0
        self.turns = 0
        self.ended = 0.0
        self.tool: str | None = None
        self.context = 0


class ToolWatcher(Watcher):
    """Base of retain policies that learn from tool times; a duration is next arrival - previous completion.

    Args:
        window: durations, and finished programs, remembered.
    """

    def __init__(self, window: int = 256) -> None:
        if not isinstance(window, int) or window < 1:
            raise ValueError(f"the window is a whole number of at least 1, got {window!r}")
        self._size = window
        self._programs: OrderedDict[Owner, _Program] = OrderedDict()
        self._returning: dict[int, int] = {}
        """Tokens that each returning sequence would find if nothing had been evicted."""
        self._waits: deque[float] = deque(maxlen=window)
        self._view: EngineView | None = None
        self.overall = Window(window)
        """Durations of all tools."""
        self.by_tool: OrderedDict[str, Window] = OrderedDict()
        """Durations of each tool that requests named."""
        self.turns = TurnCorrelation(window)

    def bind(self, view: EngineView) -> None:
        """Keep the engine's view."""
        self._view = view

    def evicted_wait(self) -> float:
        """Mean queueing time of the newest returns that found their KV gone, seconds; 0 before any."""
        return sum(self._waits) / len(self._waits) if self._waits else 0.0

    def on_arrive(self, seq: SequenceView, now: float) -> None:
        """Note how long the program was away."""
        owner = owner_of(seq.spec, "program")
        if owner is None:
            return
        program = self._programs.get(owner)
        if program is None:
            program = self._programs[owner] = _Program()
            if len(self._programs) > PROGRAMS:
                self._programs.popitem(last=False)
        elif program.turns and not program.live:
            self._programs.move_to_end(owner)
            self._returning[seq.number] = program.context
            self._add(program.tool, now - program.ended)
        program.live += 1

    def _add(self, tool: str | None, seconds: float) -> None:
        self.overall.add(seconds)
        if tool is None:
            return
        window = self.by_tool.get(tool)
        if window is None:
            window = self.by_tool[tool] = Window(self._size)
            if len(self.by_tool) > TOOLS:
                self.by_tool.popitem(last=False)
        self.by_tool.move_to_end(tool)
        window.add(seconds)

    def on_admit(self, seq: SequenceView, now: float) -> None:
        """Note how long a return waited that found some of its context gone."""
        context = self._returning.pop(seq.number, None)
        if context is not None and seq.computed < context:
            self._waits.append(now - seq.arrival)

    def on_finish(self, seq: SequenceView, now: float, running: bool) -> None:
        """Note when the tool starts, and forget the program after its last turn."""
        self._returning.pop(seq.number, None)
        owner = owner_of(seq.spec, "program")
        program = None if owner is None else self._programs.get(owner)
        if owner is None or program is None:
            return
        program.live -= 1
        program.turns += 1
        program.ended = now
        turn = seq.spec.turn
        program.tool = turn.tool if turn is not None else None
        if running and self._view is not None:
            # A prompt's last token is always computed, so a page that ends with it cannot be found.
            page = self._view.page_size
            program.context = seq.computed // page * page
        if turn is not None and turn.last and program.live <= 0:
            self.turns.add(program.turns)
            del self._programs[owner]
