"""A tiny random Llama on disk, and a driver that writes plans by hand as a scheduler would."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from penstock.config.settings import CacheConfig, Config, ModelConfig, ScheduleConfig
from penstock.core.errors import StepFault
from penstock.core.plan import PlanShape, SlotInit, StepPlan, WorkItem
from penstock.core.request import SamplingParams

VOCAB, CONTEXT, PAGE = 96, 128, 8


def make_llama(folder):
    """Save a random Llama whose greedy texts do not collapse, and return the transformers model."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        initializer_range=0.4,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


def config_for(folder, *, max_num_seqs=8, model=None, cache=None, **schedule):
    """Settings of a small executor over the model in ``folder``."""
    return Config(
        model=ModelConfig(**{"model": str(folder), "dtype": "float32", "device": "cpu", **(model or {})}),
        cache=CacheConfig(**{"block_size": PAGE, **(cache or {})}),
        schedule=ScheduleConfig(max_num_seqs=max_num_seqs, **schedule),
    )


@dataclass
class Text:
    """One sequence on its way through an executor."""

    name: str
    prompt: tuple[int, ...]
    want: int
    sampling: SamplingParams = field(default_factory=lambda: SamplingParams(temperature=0.0, max_tokens=64))
    chunk: int = 1000
    eos: tuple[int, ...] = ()
    slot: int = -1
    computed: int = 0
    landed: int = 0
    """Tokens computed by steps that succeeded."""
    target: int = 0
    """Tokens known or promised."""
    pages: list[int] = field(default_factory=list)
    sent: int = -1
    output: list[int] = field(default_factory=list)
    logprobs: list = field(default_factory=list)
    prompt_logprobs: list = field(default_factory=list)
    error: str | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or self.target >= len(self.prompt) + self.want

    def describe_anew(self):
        """Go back to what has landed, as after a failed step."""
        self.sent = -1
        self.target = len(self.prompt) + len(self.output)
        self.computed = self.landed


class Driver:
    """Runs texts to their end: every step, each unfinished text gets its next chunk or token."""

    def __init__(self, executor, seed=0):
        self.executor = executor
        spec = executor.spec()
        self.page = spec.page_size
        order = torch.randperm(spec.blocks, generator=torch.Generator().manual_seed(seed))
        self.free = order.tolist()
        self.ticket = 0
        self.plans = []

    def item(self, text, admits):
        n = min(text.chunk, text.target - text.computed)
        need = -(-(text.computed + n) // self.page)
        while len(text.pages) < need:
            text.pages.append(self.free.pop())
        if text.sent < 0:
            tokens = (*text.prompt, *text.output)
            admits.append(SlotInit(text.slot, text.name, tokens, len(text.prompt), text.sampling, text.eos))
            text.sent = 0
        sample = text.computed + n == text.target
        item = WorkItem(text.slot, text.computed, n, text.sent, tuple(text.pages[text.sent :]), sample)
        text.sent = len(text.pages)
        text.computed += n
        text.target += sample
        return item

    def submit(self, texts, frees=()):
        self.ticket += 1
        admits = []
        items = tuple(self.item(text, admits) for text in texts)
        rows = sum(item.length for item in items)
        shape = PlanShape(rows, len(items), 0, rows, 0, 0, sum(item.sample for item in items))
        plan = StepPlan(self.ticket, tuple(admits), items, tuple(frees), shape)
        self.plans.append(plan)
        self.executor.submit(plan)
        return self.ticket, list(texts), items

    def collect(self, flying):
        ticket, texts, items = flying
        result = self.executor.collect(ticket)
        assert result.ticket == ticket
        assert len(result.items) == len(items)
        for text, item, got in zip(texts, items, result.items, strict=True):
            if text.error is not None:
                continue
            text.error = got.error
            text.landed = item.start + item.length
            assert len(got.tokens) == (item.sample and got.error is None)
            text.output += got.tokens
            text.logprobs += got.logprobs or ()
            text.prompt_logprobs += got.prompt_logprobs or ()

    def run(self, texts, depth=0):
        """Returns the texts when all are done; at depth 1 a step is submitted before the last has landed."""
        for slot, text in enumerate(texts):
            text.slot, text.target = slot, len(text.prompt)
        flying = []
        while True:
            work = [t for t in texts if not t.done]
            if work:
                flying.append(self.submit(work))
            elif not flying:
                return texts
            if len(flying) > depth or not work:
                self.collect(flying.pop(0))

    def retry_alone(self, texts, depth=0):
        """`run`, but a failed step is retried one text at a time; a text that fails alone gets the error."""
        for slot, text in enumerate(texts):
            text.slot, text.target = slot, len(text.prompt)
        flying = []
        while work := [t for t in texts if not t.done] or flying:
            try:
                if work is not flying:
                    flying.append(self.submit(work))
                if len(flying) > depth or work is flying:
                    self.collect(flying[0])
                    flying.pop(0)
            except StepFault as fault:
                suspects = flying[0][1]
                for text in {id(t): t for step in flying for t in step[1]}.values():
                    text.describe_anew()
                flying.clear()
                for text in suspects if len(suspects) > 1 else ():
                    try:
                        self.collect(self.submit([text]))
                    except StepFault as alone:
                        text.error = str(alone)
                        text.describe_anew()
                if len(suspects) == 1:
                    suspects[0].error = str(fault)
        return texts
