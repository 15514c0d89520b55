"""The tokenizer of the zoo: byte-level BPE, digits apart, with chat control tokens.

Source of the method: Sennrich et al. 2016 (BPE), Radford et al. 2019 (byte level).
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.zoo.data import conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS, PAD, END = "<|bos|>", "<|pad|>", "<|end|>"
ROLES = ("system", "user", "assistant", "tool")
RESERVED = 8
SPECIALS = [
    PAD,
    BOS,
    END,
    *(f"<|{role}|>" for role in ROLES),
    *(f"<|reserved_{i}|>" for i in range(RESERVED)),
]
"""Control tokens in the order of their ids, from 0."""

CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{- raise_exception('unknown role: ' + message['role']) }}"
    "{%- endif %}"
    "{{- '<|' + message['role'] + '|>' }}"
    "{%- if message['content'] is string %}{{- message['content'] | trim }}"
    "{%- else %}{%- for part in message['content'] %}{{- part['text'] | trim }}{%- endfor %}{%- endif %}"
    "{{- '<|end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
"""``<|bos|>``, then every message as ``<|role|>content<|end|>``."""


def corpus(seed: int, conversations: int) -> Iterator[str]:
    """Yield the text of generated messages for tokenizer training."""
    rng = random.Random(f"tokenizer:{seed}")
    for _ in range(conversations):
        for message in conversation(rng).messages:
            yield message["content"]


def train_tokenizer(
    folder: Path, vocab_size: int = 3072, seed: int = 0, conversations: int = 20000, context: int = 2048
) -> "PreTrainedTokenizerFast":
    """Train the tokenizer on generated text and save it to ``folder`` in Hugging Face layout.

    Digits are tokens of their own, so that arithmetic and copying of numbers see places, not chunks.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(seed, conversations), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B:1", special_tokens=[(BOS, SPECIALS.index(BOS))]
    )
    options: dict[str, Any] = {"bos_token": BOS, "eos_token": END, "pad_token": PAD}
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=context, clean_up_tokenization_spaces=False, **options
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return fast


def encode_conversation(tokenizer: Any, messages: list[dict[str, str]]) -> tuple[list[int], list[bool]]:
    """Return the token ids of a whole dialogue and, per token, whether the assistant wrote it.

    Equal to the chat template by construction (a test compares them); the end token of an answer counts as
    the assistant's, for that is how the model learns to stop.
    """
    ids, mine = [tokenizer.bos_token_id], [False]
    end = tokenizer.eos_token_id
    for message in messages:
        body = tokenizer.encode(message["content"].strip(), add_special_tokens=False)
        ids += [SPECIALS.index(f"<|{message['role']}|>"), *body, end]
        answer = message["role"] == "assistant"
        mine += [False, *([answer] * (len(body) + 1))]
    return ids, mine
