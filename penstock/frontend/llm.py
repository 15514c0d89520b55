"""`LLM`: offline generation. The engine's tick runs in the calling thread; no process, no event loop."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, Self

import msgspec
import numpy as np

from penstock.config.fields import by_name
from penstock.config.load import load_config
from penstock.config.settings import Config
from penstock.core.errors import ConfigError, InvalidRequest, Overloaded
from penstock.core.output import EngineStats, FinishReason
from penstock.core.request import RequestSpec
from penstock.engine.build import DEFAULT_BUILD, Core, find_builder
from penstock.engine.grammars import compile_all
from penstock.frontend.assembly import Assembly
from penstock.frontend.grouping import arrange
from penstock.frontend.intake import NO_OPTIONS, Intake, Prepared
from penstock.frontend.model import limits_of, load_tokenizer
from penstock.frontend.outputs import RequestOutput
from penstock.frontend.params import parse_params
from penstock.frontend.pooling import embedding_of, pooling_params, shaped
from penstock.frontend.prompts import Chat, Prompt, RequestOptions, Text
from penstock.frontend.scoring import load_ranker
from penstock.frontend.specs import SeedSource


class LLM:
    """A model that answers lists of prompts, batched continuously.

    Args:
        model: folder or hub name; empty takes the bundled chat model.
        config: complete settings; ``model`` and ``settings`` are applied on top.
        build: import string of an engine builder; empty takes the one that serves.
        settings: any setting of the sections model, cache and schedule by its name (``max_num_seqs=8``).

    Raises:
        ConfigError: a setting, the model folder or the checkpoint cannot be used; names the field.
    """

    def __init__(
        self, model: str = "", *, config: Config | None = None, build: str = "", **settings: Any
    ) -> None:
        if model:
            settings["model"] = model
        self.config = _configure(config, settings)
        self.tokenizer = load_tokenizer(self.config)
        built = find_builder(build or DEFAULT_BUILD)(self.config, lambda line: None)
        self.info = built.info
        """Context length, memory plan lines, resolved decisions."""
        self.limits = limits_of(built.info, self.tokenizer)
        self._core: Core = built.core
        self._ranker = load_ranker(self.config, built.info)
        self._intake = Intake(self.tokenizer, self.limits, SeedSource(self.config.model.seed))

    def generate(
        self,
        prompts: Prompt | Iterable[Prompt],
        params: Any = None,
        *,
        options: RequestOptions | None = None,
        progress: bool = False,
        group_prefixes: bool = False,
        **more: Any,
    ) -> list[RequestOutput]:
        """Continue prompts.

        Args:
            prompts: a text, token ids or a conversation, or a list of such.
            params: sampling parameters (mapping or `GenerationParams`), or one such per prompt.
            options: tenant, priority... for all of them.
            progress: show a bar.
            group_prefixes: run prompts that share a prefix together, so that it is computed once however
                little memory there is, and those that generate much early; outputs keep their order.
            more: sampling parameters by name, for all prompts; they win over ``params``.

        Returns:
            One whole output per prompt, in order. A request that failed has ``finish_reason`` "error".

        Raises:
            InvalidRequest: a prompt or parameter cannot be used; nothing was run.
        """
        asked: list[Any] = [prompts] if _is_single(prompts) else [*_several(prompts)]
        given = params if isinstance(params, list | tuple) else [params] * len(asked)
        if len(given) != len(asked):
            raise InvalidRequest("params", f"expected one per prompt ({len(asked)}), got {len(given)}")
        prepared = [
            self._intake.prepare(prompt, parse_params(own, **more))
            for prompt, own in zip(asked, given, strict=True)
        ]
        jobs = []
        for one, chosen in zip(prepared, self._scored(prepared, options), strict=True):
            jobs.append(self._intake.admit(one, None, chosen))
        # Kept until the end: sequences that wait long must find their grammars again.
        grammars = compile_all(self._core.grammars, (spec for specs, _ in jobs for spec in specs))
        with _bar(sum(len(specs) for specs, _ in jobs), progress) as bar:
            results = self._run(jobs, bar, group_prefixes)
        del grammars
        return results

    def chat(
        self,
        conversations: Sequence[Mapping[str, Any]] | Sequence[Sequence[Mapping[str, Any]]] | Chat,
        params: Any = None,
        *,
        options: RequestOptions | None = None,
        progress: bool = False,
        group_prefixes: bool = False,
        **more: Any,
    ) -> list[RequestOutput]:
        """Answer conversations: a list of messages, or a list of such lists. Otherwise as `generate`."""
        single = isinstance(conversations, Chat) or (
            bool(conversations) and isinstance(conversations[0], Mapping)
        )
        asked: Any = [conversations] if single else list(conversations)  # type: ignore[arg-type]
        chats = [one if isinstance(one, Chat) else Chat(messages=one) for one in asked]
        return self.generate(
            chats, params, options=options, progress=progress, group_prefixes=group_prefixes, **more
        )

    def embed(
        self,
        prompts: Prompt | Iterable[Prompt],
        *,
        pooling: str = "mean",
        dimensions: int | None = None,
        normalize: bool = True,
        options: RequestOptions | None = None,
        progress: bool = False,
    ) -> list[np.ndarray]:
        """Return one embedding per prompt, float32 ``[E]``: the pooled final hidden states of its tokens.

        Args:
            prompts: as for `generate`.
            pooling: ``mean`` over the prompt, or its ``last`` token.
            dimensions: keep only so many of the first dimensions.
            normalize: scale to length 1.
            options: tenant, priority...
            progress: show a bar.

        Raises:
            InvalidRequest: a prompt cannot be used; nothing was run.
            PenstockError: the engine failed on a prompt.
        """
        results = self.generate(
            prompts, pooling_params(pooling), options=options, progress=progress, group_prefixes=False
        )
        return [shaped(embedding_of(result), dimensions, normalize) for result in results]

    def _scored(
        self, prepared: Sequence[Prepared], options: RequestOptions | None
    ) -> list[RequestOptions | None]:
        """Write foretold lengths into the options, all prompts at once, if there is a ranker."""
        if self._ranker is None or (options is not None and options.length_score is not None):
            return [options] * len(prepared)
        scores = self._ranker.score([one.prompt_ids for one in prepared])
        base = options or NO_OPTIONS
        return [msgspec.structs.replace(base, length_score=score) for score in scores]

    def stats(self) -> EngineStats:
        """Return the engine's figures."""
        return self._core.stats()

    def reset_prefix_cache(self) -> bool:
        """Drop all cached prefixes; False if blocks were in use."""
        return self._core.reset_prefix_cache()

    def close(self) -> None:
        """Release the model; idempotent."""
        self._core.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close."""
        self.close()

    def _run(
        self, jobs: Sequence[tuple[tuple[RequestSpec, ...], Assembly]], bar: _Bar, grouped: bool
    ) -> list[RequestOutput]:
        queue = deque((spec, assembly) for specs, assembly in jobs for spec in specs)
        if grouped:
            arranged = arrange([spec for spec, _ in queue], self.info.page_size)
            queue = deque((spec, queue[place][1]) for place, spec in arranged)
        routes: dict[str, Assembly] = {}
        try:
            while queue or routes:
                self._feed(queue, routes)
                self._step(routes, bar)
        except BaseException:  # an interrupt too must leave the engine empty
            self._clear()
            raise
        results = []
        for _, assembly in jobs:
            whole = assembly.take()
            assert whole is not None and whole.finished
            whole.outputs.sort(key=lambda out: out.index)
            results.append(whole)
        return results

    def _clear(self, most: int = 100) -> None:
        """End everything; gives up after ``most`` steps, for the engine may be what failed."""
        with suppress(Exception):
            self._core.abort_all("client")
            for _ in range(most):
                if not self._core.has_work():
                    return
                self._core.tick()

    def _feed(self, queue: deque[tuple[RequestSpec, Assembly]], routes: dict[str, Assembly]) -> None:
        """Submit until the admit policy has enough; what it turned away comes again after a step."""
        while queue:
            spec, assembly = queue[0]
            try:
                self._core.submit(spec)
            except Overloaded:
                if not routes:
                    raise  # nothing runs, so waiting would not help
                return
            routes[spec.id] = assembly
            queue.popleft()

    def _step(self, routes: dict[str, Assembly], bar: _Bar) -> None:
        for output in self._core.tick():
            assembly = routes[output.request_id]
            if assembly.push(output):
                self._core.cancel(output.request_id, reason=FinishReason.STOP)
            if output.finish is not None:
                del routes[output.request_id]
            bar.update(len(output.tokens), output.finish is not None)


def _is_single(prompts: Any) -> bool:
    if isinstance(prompts, str | Text | Chat):
        return True
    return isinstance(prompts, Sequence) and bool(prompts) and isinstance(prompts[0], int | Mapping)


def _several(prompts: Any) -> Iterable[Any]:
    if not isinstance(prompts, Iterable):
        raise InvalidRequest("prompts", f"expected a prompt or a list of prompts, got {prompts!r}")
    return prompts


def _configure(config: Config | None, settings: Mapping[str, Any]) -> Config:
    """Apply settings named without their section."""
    names = {field.name: dotted for dotted, field in by_name().items() if field.section != "server"}
    sections: dict[str, dict[str, Any]] = {}
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(name, f"no such setting{hint}")
    checked = load_config(overrides={names[name]: value for name, value in settings.items()})
    if config is None:
        return checked
    for name in settings:
        section = names[name].partition(".")[0]
        sections.setdefault(section, {})[name] = getattr(getattr(checked, section), name)
    return msgspec.structs.replace(
        config,
        **{
            section: msgspec.structs.replace(getattr(config, section), **values)
            for section, values in sections.items()
        },
    )


class _Bar(Protocol):
    def update(self, tokens: int, ended: bool) -> None: ...


class _NoBar:
    def update(self, tokens: int, ended: bool) -> None:
        """Show nothing."""


class _RichBar:
    def __init__(self, progress: Any, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("sequences", total=total, tokens=0)
        self._tokens = 0

    def update(self, tokens: int, ended: bool) -> None:
        """Move the bar by one sequence when one ended."""
        self._tokens += tokens
        self._progress.update(self._task, advance=int(ended), tokens=self._tokens)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[_Bar]:
    if not shown:
        yield _NoBar()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[tokens]} tokens"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        yield _RichBar(progress, total)
