"""The best composition of policies and budgets for a workload: successive halving over prefixes of it.

Many candidates see a short prefix of the workload, the better ones and what they have in common a longer one,
a few all of it. All candidates of a round see the same requests (common random numbers). Successive halving:
Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization" (2016).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from penstock.core.errors import ConfigError
from penstock.sim.report import plain
from penstock.sim.run import Evaluate, Outcome, Scenario
from penstock.sim.sweep import section_of, short
from penstock.sim.tune_space import (
    Settings,
    Traits,
    apply,
    as_texts,
    changes,
    crossed,
    first_round,
    neighbours,
    space_of,
    stacks,
    steps,
    traits_of,
    unlike,
)

if TYPE_CHECKING:
    from rich.console import Console

SHARES = (1 / 9, 1 / 3)
"""Of the requests, that the rounds before the last see."""
LEAST = 60
"""Requests that a round sees at least."""
FINALISTS = 6
NOTHING = 0.003
"""Share of the score that is no reason to keep a change."""


class Candidate(msgspec.Struct, kw_only=True):
    """A composition and how it did in the last round that it saw."""

    settings: Settings
    score: float
    figures: dict[str, float]


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """What taking one change back costs."""

    setting: str
    best: str
    default: str
    score: float
    """With the default's value in its place."""


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """What tuning found."""

    scenario: Scenario
    """The default that was to be beaten."""
    objective: str
    traits: Traits
    default: Candidate
    best: Candidate
    ranking: tuple[Candidate, ...]
    """Everybody who saw the whole workload, best first."""
    ablations: tuple[Ablation, ...]
    rounds: tuple[tuple[int, int], ...]
    """(candidates, requests) of each round."""

    @property
    def gain(self) -> float:
        """How many times the default's score the best one's is."""
        if self.best.score <= self.default.score:
            return 1.0
        return self.best.score / self.default.score if self.default.score else float("inf")


def tune(
    scenario: Scenario,
    evaluate: Evaluate,
    *,
    given: dict[str, list[str]] | None = None,
    extra: int = 16,
    seed: int = 0,
) -> Tuned:
    """Search the composition with the best goodput; without objectives, the most tokens per second.

    Args:
        scenario: the default to be beaten, on the workload.
        evaluate: runs scenarios.
        given: values to try of some settings, in place of ours.
        extra: random compositions in the first round.
        seed: of the random compositions.

    Raises:
        ConfigError: the default itself cannot run, or a given value cannot be used.
    """
    return _Search(scenario, evaluate, given or {}, seed).go(extra)


class _Search:
    def __init__(
        self, scenario: Scenario, evaluate: Evaluate, given: dict[str, list[str]], seed: int
    ) -> None:
        self._scenario, self._evaluate = scenario, evaluate
        self._traits = traits_of(scenario)
        self._space = space_of(self._traits, given)
        self._default = as_texts(scenario, self._space)
        self._rng = np.random.default_rng(seed)
        self._rounds: list[tuple[int, int]] = []
        self._full: list[Candidate] = []

    def go(self, extra: int) -> Tuned:
        (default,) = self._round([self._default], 0) or (None,)
        if default is None:
            raise ConfigError("tune", "the default composition cannot run this workload")
        sent = int(sum(default.figures[name] for name in ("completed", "failed", "unfinished")))
        many = first_round(self._space, self._default, extra, self._rng)
        few, more = (min(sent, max(LEAST, round(sent * share))) for share in SHARES)
        ranked = self._round(many, few)
        kept = [one.settings for one in ranked[: max(FINALISTS, len(ranked) // 4)]]
        stacked = stacks([(one.settings, one.score) for one in ranked], self._default)
        many = unlike([*kept, *stacked, *crossed(kept, self._default, FINALISTS)])
        ranked = self._round(many, more)
        seen = {_key(one.settings) for one in ranked}
        around = [one for one in neighbours(ranked[0].settings, self._space) if _key(one) not in seen]
        ranked = sorted([*ranked, *self._round(around, more)], key=_rank)
        kept = [one.settings for one in ranked[:FINALISTS]]
        many = unlike([*kept, *crossed(kept, self._default, FINALISTS // 2)])
        self._full = [default, *self._round([one for one in many if one != self._default], 0)]
        self._refine()
        best = self._pruned(min(self._full, key=_rank))
        return Tuned(
            scenario=self._scenario,
            objective="request_goodput" if self._scenario.slo else "total_token_throughput",
            traits=self._traits,
            default=default,
            best=best,
            ranking=tuple(sorted(self._full, key=_rank)),
            ablations=self._ablations(best),
            rounds=tuple(self._rounds),
        )

    def _refine(self) -> None:
        """Cross the finalists, and step from the best to neighbouring budgets."""
        for _ in range(2):
            before = min(self._full, key=_rank)
            ranked = [one.settings for one in sorted(self._full, key=_rank)[:4]]
            many = [*crossed(ranked, self._default, 4), *steps(before.settings, self._space)]
            self._full += self._round(self._fresh(many), 0)
            if min(self._full, key=_rank) is before:
                return

    def _pruned(self, best: Candidate) -> Candidate:
        """Take back, one after the other, the changes that are worth nothing; return what is left."""
        floor = best.score * (1 - NOTHING)
        for name in changes(best.settings, self._default):
            simpler = best.settings | {name: self._default[name]}
            self._full += self._round(self._fresh([simpler]), 0)
            (there,) = [one for one in self._full if one.settings == simpler] or (None,)
            if there is not None and there.score >= floor:
                best = there
        return best

    def _ablations(self, best: Candidate) -> tuple[Ablation, ...]:
        """Take each change of the best back, alone."""
        mine = changes(best.settings, self._default)
        back = {name: best.settings | {name: self._default[name]} for name in mine}
        self._full += self._round(self._fresh(list(back.values())), 0)
        scores = {_key(one.settings): one.score for one in self._full}
        found = [
            Ablation(setting=name, best=value, default=self._default[name], score=scores[_key(back[name])])
            for name, value in mine.items()
            if _key(back[name]) in scores
        ]
        return tuple(sorted(found, key=lambda one: one.score))

    def _fresh(self, many: Sequence[Settings]) -> list[Settings]:
        known = {_key(one.settings) for one in self._full}
        return [one for one in unlike(many) if _key(one) not in known]

    def _round(self, many: Sequence[Settings], requests: int) -> list[Candidate]:
        """Run candidates on the first so many requests (0: all); return those that could run, best first."""
        limited = self._scenario
        if requests:
            limited = msgspec.structs.replace(limited, limit=requests)
        legal = [(one, made) for one in many if (made := apply(limited, one)) is not None]
        self._rounds.append((len(legal), requests))
        found = []
        for (settings, _), outcome in zip(legal, self._evaluate([made for _, made in legal]), strict=True):
            if isinstance(outcome, Outcome):
                figures = outcome.figures
                score = figures.get("request_goodput", figures["total_token_throughput"])
                found.append(Candidate(settings=settings, score=score, figures=figures))
        return sorted(found, key=_rank)


def _key(settings: Settings) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(settings.items()))


def _rank(one: Candidate) -> tuple[float, float, tuple[tuple[str, str], ...]]:
    """Best score first; then the shorter wait; then by name, so that the result never hangs on chance."""
    return (-one.score, one.figures["p99_ttft_ms"], _key(one.settings))


def print_tuned(found: Tuned, console: Console) -> None:
    """Print the ranking and what each change of the best is worth."""
    from rich.table import Table

    default = found.default.settings
    what = "goodput" if found.scenario.slo else "tokens/s"
    title = f"Tuned, SIMULATED: {found.scenario.workload} on {found.scenario.cost}"
    table = Table(title=title, title_justify="left")
    for name in ("", "changes of the default", what, "met %", "TTFT P99 s", "TPOT P99 ms", "failed"):
        table.add_column(name, overflow="fold", justify="left" if name.startswith("changes") else "right")
    for one, alike in _shown(found):
        place = "*" if one is found.best else str(found.ranking.index(one) + 1)
        mine = changes(one.settings, default)
        words = ", ".join(f"{name}={value}" for name, value in mine.items()) or "the default"
        words += f" (and {alike} alike)" if alike else ""
        f = one.figures
        met = short(100 * f["slo_attainment"]) if "slo_attainment" in f else "-"
        waits = (short(f["p99_ttft_ms"] / 1000), short(f["p99_tpot_ms"]), short(f["failed"]))
        table.add_row(place, words, short(one.score), met, *waits)
    console.print(table)
    lacking = found.traits.lacking()
    if lacking:
        console.print(f"not tried, since the requests have no {'; no '.join(lacking)}", highlight=False)
    for text in reasons(found):
        console.print(text, highlight=False)


def _shown(found: Tuned) -> list[tuple[Candidate, int]]:
    """Return the best, the best of the others with unlike scores, and the default; how many are like each."""
    heads: dict[str, Candidate] = {short(found.best.score): found.best}
    for one in found.ranking:
        heads.setdefault(short(one.score), one)
    alike = [short(one.score) for one in found.ranking]
    shown = list(heads.values())[:8]
    rows = [(one, alike.count(short(one.score)) - 1) for one in shown]
    return rows if found.default in shown else [*rows, (found.default, 0)]


def reasons(found: Tuned) -> list[str]:
    """Return in words how much better the best is, and which change it owes that to."""
    what = "requests/s within the objectives" if found.scenario.slo else "tokens/s"
    if found.gain == 1.0:
        return [f"SIMULATED: nothing tried beats the default ({short(found.default.score)} {what})"]
    times = (
        "where the default has none"
        if found.gain == float("inf")
        else f"{found.gain:.2f} times the default's"
    )
    lines = [f"SIMULATED: {short(found.best.score)} {what}, {times}. What each change is worth:"]
    for one in found.ablations:
        loss = 100 * (1 - one.score / found.best.score)
        verb = f"loses {loss:.0f} %" if loss >= 0.5 else "makes no difference here"
        lines.append(f"  {one.setting}={one.best}: going back to {one.default} {verb}")
    return lines


def as_report(found: Tuned) -> dict[str, Any]:
    """Return the search as plain values."""
    ranking = [
        {"settings": one.settings, "score": one.score, "figures": plain(one.figures)} for one in found.ranking
    ]
    return {
        "label": "simulated",
        "scenario": plain(found.scenario),
        "objective": found.objective,
        "gain": plain(found.gain),
        "best": found.best.settings,
        "default": found.default.settings,
        "reasons": reasons(found),
        "ablations": plain(list(found.ablations)),
        "rounds": [{"candidates": count, "requests": requests or None} for count, requests in found.rounds],
        "ranking": ranking,
    }


def as_toml(found: Tuned, command: str) -> str:
    """Return the best composition as a file for ``penstock serve --config``."""
    lines = [
        "# Written by `penstock tune`; take it with `penstock serve --config FILE`.",
        f"# {' '.join(command.split())}",
        *(f"# {line.strip()}" for line in reasons(found)),
    ]
    scenario = apply(found.scenario, found.best.settings)
    assert scenario is not None
    for section in ("cache", "schedule"):
        mine = msgspec.to_builtins(getattr(scenario, section))
        plain_section = msgspec.to_builtins(type(getattr(scenario, section))())
        tuned = {name for name in found.best.settings if section_of(name) == section}
        values = {
            name: value for name, value in mine.items() if name in tuned or value != plain_section[name]
        }
        if values:
            lines += [
                "",
                f"[{section}]",
                *(f"{name} = {json.dumps(value)}" for name, value in values.items()),
            ]
    return "\n".join(lines) + "\n"
