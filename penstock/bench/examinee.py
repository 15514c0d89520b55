"""Penstock's own engine as what runs the models in the zoo's exams."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from penstock.config.settings import Config
from penstock.frontend.llm import LLM
from penstock.frontend.outputs import RequestOutput, TokenLogprob
from penstock.frontend.prompts import Chat
from penstock.zoo.exams.answers import MAX_TOKENS, Dialogue, Reply
from penstock.zoo.exams.rows import Row

if TYPE_CHECKING:
    import numpy as np


class Examinee:
    """A model folder in the engine: continuous batches, prefix cache, greedy; an `Answerer`.

    Args:
        folder: of the model.
        adapter: PEFT folder of an adapter that is added to its weights.
        settings: of the engine, by name, as `LLM` takes them.
    """

    def __init__(self, folder: Path, adapter: Path | None = None, **settings: Any) -> None:
        self.name = folder.name
        if adapter is None:
            self._llm = LLM(str(folder), **settings)
        else:
            with TemporaryDirectory() as place:
                _merge(folder, adapter, Path(place))
                # A small update would drown in the steps of bfloat16.
                self._llm = LLM(place, **{"dtype": "float32", **settings})
        self.context = self._llm.info.max_model_len

    @property
    def settings(self) -> Config:
        """The complete settings of the engine."""
        return self._llm.config

    def reply(self, dialogues: Sequence[Dialogue], max_tokens: int = MAX_TOKENS) -> list[Reply]:
        """Answer every dialogue, in order; all run as one batch."""
        prompts = [self._prompt(one) for one in dialogues]
        rooms = [min(max_tokens, self.context - len(prompt)) for prompt in prompts]
        fitting = [place for place, room in enumerate(rooms) if room > 0]
        outputs = self._llm.generate(
            [prompts[place] for place in fitting],
            [{"temperature": 0.0, "max_tokens": rooms[place]} for place in fitting],
        )
        replies = [Reply("", False, 0, prompt) for prompt in prompts]
        for place, output in zip(fitting, outputs, strict=True):
            replies[place] = _reply(output)
        return replies

    def first_choices(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[bool]]:
        """See `Answerer.first_choices`; the log-probabilities of the prompt tell."""
        return [[entry.rank == 1 for entry in judged] for judged in self._judged(texts)]

    def token_logprobs(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Return, per (prompt, answer) in tokens, the natural log-probability of each answer token."""
        return [[entry.logprob for entry in judged] for judged in self._judged(texts)]

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text that follows others."""
        return list(self._llm.tokenizer.encode(text, add_special_tokens=False))

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors [n, E]: the mean of the last hidden states of each text."""
        import numpy as np

        return np.stack(self._llm.embed(list(texts)))

    def _judged(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[TokenLogprob]]:
        # A prompt must leave room for a token, so the last of a full context is not judged.
        whole = [[*prompt, *answer][: self.context - 1] for prompt, answer in texts]
        params = {"temperature": 0.0, "max_tokens": 1, "prompt_logprobs": 0}
        outputs = self._llm.generate(whole, params)
        return [
            [entry for entry in (output.prompt_logprobs or ())[len(prompt) :] if entry is not None]
            for (prompt, _), output in zip(texts, outputs, strict=True)
        ]

    def close(self) -> None:
        """Release the model."""
        self._llm.close()

    def _prompt(self, one: Dialogue) -> tuple[int, ...]:
        chat = Chat(messages=one.messages, tools=one.tools or None)
        text = self._llm.tokenizer.render_chat(chat)
        return self._llm.tokenizer.encode(text, add_special_tokens=False)


class EngineRoom:
    """Runs the zoo's exams by the engine; a `Room`.

    Args:
        settings: of the engine, by name, for all chat models.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.name = ", ".join(["engine", *(f"{name}={value}" for name, value in settings.items())])

    def open(self, folder: Path, adapter: Path | None = None) -> Examinee:
        """Load a chat model."""
        return Examinee(folder, adapter, **self._settings)

    def open_encoder(self, folder: Path) -> Examinee:
        """Load an embedder."""
        return Examinee(folder)

    def ranker_rows(
        self, folder: Path, questions: int, seed: int, replies: Mapping[str, Sequence[Reply]]
    ) -> list[Row]:
        """Measure a length ranker on reference answers, and on what the chat model really answered."""
        from penstock.predict.evaluation import RankerScore, evaluate_ranker, score_samples
        from penstock.predict.ranker import LengthRanker
        from penstock.predict.traffic import Sample

        def row(name: str, score: RankerScore, target: float | None = None) -> Row:
            ends = (score.tau, score.low, score.high)
            return Row("ranker", folder.name, name, *ends, score.requests, target=target)

        rows = [row("Kendall tau", evaluate_ranker(folder, max(questions, 3), seed), RANKER_TARGET)]
        answered = [reply for given in replies.values() for reply in given if reply.stopped]
        if len(answered) > 2:
            samples = [Sample(reply.prompt_ids, len(reply.ids)) for reply in answered]
            own = score_samples(LengthRanker.load(folder), samples)
            rows.append(row("Kendall tau on the model's own answers, all skills", own))
        return rows


RANKER_TARGET = 0.6
"""Least Kendall tau on held-out requests."""


def _reply(output: RequestOutput) -> Reply:
    one = output.outputs[0]
    stopped = one.finish_reason == "stop"
    tokens = len(one.token_ids) - int(stopped)
    return Reply(one.text, stopped, tokens, output.prompt_token_ids, one.token_ids)


def _merge(folder: Path, adapter: Path, into: Path) -> None:
    """Write the model with the adapter added to its weights, in fp32."""
    from safetensors.torch import load_file, save_file

    from penstock.zoo.adapters.merge import deltas

    for path in folder.glob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            shutil.copy(path, into)
    weights = {name: weight.float() for name, weight in load_file(folder / "model.safetensors").items()}
    for name, delta in deltas(adapter).items():
        weights[name] += delta
    save_file(weights, into / "model.safetensors", metadata={"format": "pt"})
