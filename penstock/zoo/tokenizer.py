"""The tokenizer of the zoo: byte-level BPE, digits apart, with chat control tokens.

Source of the method: Sennrich et al. 2016 (BPE), Radford et al. 2019 (byte level).
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.zoo.data import conversation
from penstock.zoo.data.toolform import TOOLS_HEAD, assistant_text, tools_text

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
    # The kind of a parameter in a word: its choices, the type of an array's items with [], or its type.
    "{%- macro kind(schema) %}"
    "{%- set schema = schema if schema is mapping else {} %}"
    "{%- set type, items = schema.get('type'), schema.get('items') %}"
    "{%- if schema.get('enum') %}{{- schema.get('enum') | join('|') }}"
    "{%- elif type == 'array' and items is mapping and items.get('type') is string %}"
    "{{- items.get('type') + '[]' }}"
    "{%- elif type is string %}{{- type }}"
    "{%- elif type is iterable %}{{- type | join('|') }}"
    "{%- else %}{{- 'any' }}{%- endif %}"
    "{%- endmacro %}"
    "{%- macro listed(tools) %}"
    "{{- '" + TOOLS_HEAD + "' }}"
    "{%- for tool in tools %}"
    "{%- set tool = tool.get('function') or tool %}"
    "{{- '\\n{\"name\": ' + tool['name'] | tojson }}"
    "{%- if tool.get('description') %}"
    "{{- ', \"description\": ' + tool['description'] | trim | tojson }}{%- endif %}"
    "{{- ', \"parameters\": {' }}"
    "{%- set schema = tool.get('parameters') or {} %}"
    "{%- for name, of in (schema.get('properties') or {}).items() %}"
    "{%- set optional = '' if name in (schema.get('required') or []) else '?' %}"
    "{{- (', ' if not loop.first else '') + name | tojson + ': ' + (kind(of) + optional) | tojson }}"
    "{%- endfor %}{{- '}}' }}"
    "{%- endfor %}"
    "{%- endmacro %}"
    "{%- macro said(message) %}"
    "{%- if message['content'] is string %}{{- message['content'] | trim }}"
    "{%- else %}{%- for part in message['content'] or [] %}{{- part['text'] | trim }}{%- endfor %}"
    "{%- endif %}"
    "{%- endmacro %}"
    "{{- bos_token }}"
    "{%- if tools and (not messages or messages[0]['role'] != 'system') %}"
    "{{- '<|system|>' + listed(tools) + '<|end|>' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{%- if message['role'] not in ['system', 'user', 'assistant', 'tool'] %}"
    "{{- raise_exception('unknown role: ' + message['role']) }}"
    "{%- endif %}"
    "{%- set follows = message['role'] == 'tool' and not loop.first and loop.previtem['role'] == 'tool' %}"
    "{{- '\\n' if follows else '<|' + message['role'] + '|>' }}"
    "{%- set text = said(message) %}{{- text }}"
    "{%- if tools and loop.first and message['role'] == 'system' %}"
    "{{- ('\\n\\n' if text else '') + listed(tools) }}"
    "{%- endif %}"
    "{%- for call in message.get('tool_calls') or [] %}"
    "{%- set call = call.get('function') or call %}"
    "{%- set given = call.get('arguments') or {} %}"
    "{{- ('\\n' if text or not loop.first else '') + '<tool_call>\\n{\"name\": ' + call['name'] | tojson"
    " + ', \"arguments\": ' + (given if given is string else given | tojson) + '}\\n</tool_call>' }}"
    "{%- endfor %}"
    "{%- if message['role'] != 'tool' or loop.last or loop.nextitem['role'] != 'tool' %}"
    "{{- '<|end|>' }}{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
"""``<|bos|>``, then every message as ``<|role|>content<|end|>``.

Offered tools stand in the system's block, a compact JSON line each; calls are ``<tool_call>`` text of the
assistant's; the results of one round of calls stand in one block, a line each.
"""


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


def encode_conversation(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> tuple[list[int], list[bool]]:
    """Return the token ids of a whole dialogue and, per token, whether the assistant wrote it.

    Equal to the chat template by construction (a test compares them); the end token of an answer counts as
    the assistant's, for that is how the model learns to stop.

    Args:
        tokenizer: the zoo's tokenizer.
        messages: in the OpenAI form; content is a string (None beside calls).
        tools: OpenAI function tools that are offered.
    """
    ids, mine = [tokenizer.bos_token_id], [False]
    for role, text in _blocks(messages, tools):
        body = tokenizer.encode(text, add_special_tokens=False)
        ids += [SPECIALS.index(f"<|{role}|>"), *body, tokenizer.eos_token_id]
        mine += [False, *([role == "assistant"] * (len(body) + 1))]
    return ids, mine


def _blocks(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None
) -> list[tuple[str, str]]:
    """Return role and text of every block of the template."""
    blocks: list[tuple[str, str]] = []
    for message in messages:
        role, text = str(message["role"]), assistant_text(message)
        if role == "tool" and blocks and blocks[-1][0] == "tool":
            blocks[-1] = (role, f"{blocks[-1][1]}\n{text}")
        else:
            blocks.append((role, text))
    if tools and blocks[:1] and blocks[0][0] == "system":
        blocks[0] = ("system", f"{blocks[0][1]}\n\n{tools_text(tools)}".strip())
    elif tools:
        blocks.insert(0, ("system", tools_text(tools)))
    return blocks
