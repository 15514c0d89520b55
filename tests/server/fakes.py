"""A front without an engine: answers scripted text, with the contract of `AsyncEngine`."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from penstock.config.settings import Config, ModelConfig, ServerConfig
from penstock.core.errors import InvalidRequest, Overloaded
from penstock.core.output import EngineStats, FinishReason, Timeline
from penstock.engine.messages import EngineDead, EngineInfo, Health
from penstock.engine.observation import Observation, Rates, Seconds, StepRecord, TenantLoad
from penstock.frontend.intake import Prepared
from penstock.frontend.outputs import CompletionOutput, RequestOutput, TokenLogprob, TopLogprob, Usage
from penstock.frontend.params import parse_params
from penstock.frontend.prompts import Chat, Text

CONFIG = Config(model=ModelConfig(model="fake", served_model_name="fake"), server=ServerConfig())


class Letters:
    def push(self, token_id):
        return chr(token_id)


class FakeTokenizer:
    """One token per character; its id is the code point."""

    def encode(self, text, *, add_special_tokens=True):
        return tuple(ord(c) for c in text)

    def decode(self, ids, *, skip_special_tokens=True):
        return "".join(map(chr, ids))

    template_text = "{{ tools }}"
    inner = None
    named_tokens: ClassVar = {"bos_token": None, "eos_token": "</s>", "pad_token": None, "unk_token": None}
    ending = ""

    def detokenizer(self, *, skip_special_tokens=True):
        return Letters()

    def token_text(self, token_id):
        return chr(token_id)

    def render_chat(self, chat):
        text = "".join(f"<{m['role']}>{m['content']}" for m in chat.messages)
        return text + ("<assistant>" + self.ending if chat.add_generation_prompt else "")


def score(ids, count, offset=0):
    scores = []
    for token in ids:
        top = tuple(
            TopLogprob(
                token_id=token + i, token=chr(token + i), bytes=chr(token + i).encode(), logprob=-0.5 - i
            )
            for i in range(count)
        )
        scores.append(
            TokenLogprob(
                token_id=token, token=chr(token), bytes=chr(token).encode(), logprob=-0.5, rank=1,
                offset=offset, top=top,
            )
        )  # fmt: skip
        offset += 1
    return tuple(scores)


class FakeStream:
    def __init__(self, engine, request_id, ids, prompt, params):
        self.engine, self.request_id, self.prompt_token_ids, self.prompt = engine, request_id, ids, prompt
        self.params, self.finished, self._turn = params, False, 0
        self.sent = {i: 0 for i in range(params.get("n", 1))}
        self.gathers = 1

    def gather(self, tokens):
        self.gathers = tokens

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.finished:
            raise StopAsyncIteration
        try:
            await self.engine.beat(self)
        except BaseException:
            await self.aclose()
            raise
        if self.finished:
            raise StopAsyncIteration
        if self.engine.stopping:
            return self._end(FinishReason.ABORT, "shutdown")
        if self.engine.fail_at is not None and self._turn >= self.engine.fail_at:
            return self._end(*self.engine.failure)
        return self._step()

    def _step(self):
        text, limit = self.engine.text, self.params.get("max_tokens") or 10**9
        outs, self._turn = [], self._turn + 1
        for index, start in list(self.sent.items()):
            end = min(start + self.engine.stride, len(text), limit)
            ids = tuple(ord(c) for c in text[start:end])
            done = end in (len(text), limit)
            reason = (FinishReason.STOP if end == len(text) else FinishReason.LENGTH) if done else None
            count = self.params.get("logprobs")
            outs.append(
                CompletionOutput(
                    index=index, text=text[start:end], token_ids=ids, finish_reason=reason,
                    logprobs=None if count is None else score(ids, count, start),
                    timeline=Timeline(1.0, 1.1, 1.2, 1.5, 1.5) if done else None,
                )
            )  # fmt: skip
            self.sent[index] = end
            if done:
                del self.sent[index]
        if not self.sent:
            self._leave()
        prompt_scores = None
        if self._turn == 1 and self.params.get("prompt_logprobs") is not None:
            prompt_scores = (None, *score(self.prompt_token_ids[1:], self.params["prompt_logprobs"], 1))
        return self._output(outs, prompt_scores)

    def _output(self, outs, prompt_scores=None):
        total = sum(len(self.engine.text[: self.params.get("max_tokens") or 10**9]) for _ in outs)
        usage = Usage(prompt_tokens=len(self.prompt_token_ids), completion_tokens=total, cached_tokens=2)
        return RequestOutput(
            request_id=self.request_id, prompt_token_ids=self.prompt_token_ids, prompt=self.prompt,
            outputs=outs, usage=usage, prompt_logprobs=prompt_scores, finished=self.finished,
        )  # fmt: skip

    def _end(self, reason, detail):
        self._leave()
        outs = [CompletionOutput(index=i, finish_reason=reason, detail=detail) for i in self.sent]
        return self._output(outs)

    def _leave(self):
        self.finished = True
        self.engine.running.pop(self.request_id, None)

    def close(self, detail="client"):
        if not self.finished:
            self.engine.cancelled.append(self.request_id)
            self.engine.reasons.append(detail)
            self._leave()

    async def aclose(self, detail="client"):
        self.close(detail)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exc):
        await self.aclose()


class FakePrepared(Prepared, frozen=True, kw_only=True):
    asked: tuple[Any, dict]


class FakeEngine:
    """Set the attributes to script it."""

    def __init__(self, text="Hello world"):
        self.text, self.stride, self.delay = text, 3, 0.0
        self.tokenizer = FakeTokenizer()
        self.config = CONFIG
        self.info = EngineInfo(
            vocab_size=1000, max_model_len=256, plan=("weights 1 MiB",), decisions=("cpu",)
        )
        self.running: dict[str, FakeStream] = {}
        self.cancelled: list[str] = []
        self.reasons: list[str] = []
        self.asked: list[tuple[Any, dict, Any]] = []
        self.refusal: Exception | None = None
        self.no_grammars = False
        self.fail_at: int | None = None
        self.failure = (FinishReason.ERROR, "matrix is on fire")
        self.state, self.cause = "ready", ""
        self.stopping = False
        self.hold = False
        self.looked, self.first_step = 0, 1

    async def prepare(self, prompt, params=None):
        await asyncio.sleep(0)
        text = self.tokenizer.render_chat(prompt) if isinstance(prompt, Chat) else None
        text = prompt.text if isinstance(prompt, Text) else text
        ids = self.tokenizer.encode(text) if text is not None else tuple(prompt)
        if len(ids) > 200:
            raise InvalidRequest("prompt", f"{len(ids)} tokens do not fit the context of 256")
        return FakePrepared(
            prompt_ids=ids, prompt=text, params=parse_params(params), chat=isinstance(prompt, Chat),
            asked=(prompt, dict(params or {})),
        )  # fmt: skip

    async def submit(self, prepared, *, request_id=None, options=None):
        await asyncio.sleep(0)
        if self.refusal:
            raise self.refusal
        if self.state == "draining":
            raise Overloaded("the server is shutting down", 5.0)
        if self.state == "dead":
            raise EngineDead(self.cause)
        if self.no_grammars and options.grammar is not None:
            raise InvalidRequest(options.grammar.field, "cannot be compiled")
        assert request_id not in self.running
        prompt, params = prepared.asked
        if prepared.params.max_tokens is not None:
            params["max_tokens"] = prepared.params.max_tokens
        self.asked.append((prompt, params, options))
        stream = FakeStream(self, request_id, prepared.prompt_ids, prepared.prompt, params)
        self.running[request_id] = stream
        return stream

    async def beat(self, stream):
        await asyncio.sleep(self.delay)
        while self.hold and not self.stopping and not stream.finished:
            await asyncio.sleep(0.005)

    def health(self):
        return Health(state=self.state, cause=self.cause)

    def live(self):
        return len(self.running)

    async def stats(self):
        if self.state == "dead":
            raise EngineDead(self.cause)
        return EngineStats(
            running=len(self.running), waiting=0, blocks_total=10, blocks_free=5, blocks_reclaimable=3,
            prefix_query_tokens=7, prefix_hit_tokens=4, prompt_tokens=3, generated_tokens=11, preemptions=0,
            recomputed_tokens=0, steps=5, submitted=1, finished={"stop": 1}, waiting_by_reason={},
        )  # fmt: skip

    async def observe(self, since=-1, most=0):
        self.looked += 1
        return Observation(
            now=100.0, stats=await self.stats(), tenants=(TenantLoad("default", len(self.running), 0),),
            rates=Rates(5.0, 3.0, 4.0, 8.0, 11.0, 0.5), step_seconds=Seconds((0.1,), (1, 2), 3.0),
            host_seconds=Seconds((0.1,), (3, 0), 0.1),
            steps=tuple(
                StepRecord(ticket, 90.0 + ticket, 1.0, 0.5, 0.1, 3, 1, 2, 1, 0, 2)
                for ticket in range(self.first_step, self.first_step + 2) if ticket > since
            )[:most],
        )  # fmt: skip

    async def drain(self, timeout):
        self.state = "draining"
        deadline = asyncio.get_running_loop().time() + timeout
        while self.running and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.005)
        left = len(self.running)
        self.stopping = True
        while self.running:
            await asyncio.sleep(0.005)
        return left

    async def close(self):
        self.state, self.stopping = "closed", True
