"""Talking to a model folder through transformers: the reference that evaluation and tests rely on."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from penstock.zoo import bundled_model_path
from penstock.zoo.exams.answers import MAX_TOKENS, Dialogue, Message, Reply

__all__ = ["Reply", "Talker", "main"]

BATCH_TOKENS = 16384
"""Most prompt tokens, padding included, of one batch."""


class Talker:
    """A model folder loaded with transformers, in fp32 on the CPU; an `Answerer`.

    Args:
        folder: an ordinary Hugging Face folder; the bundled model by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = folder or bundled_model_path()
        self.name = folder.name
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.train(False)
        self.context: int = self.model.config.max_position_embeddings

    def reply(
        self,
        dialogues: Sequence[Dialogue | Sequence[Message]],
        max_tokens: int = MAX_TOKENS,
        temperature: float = 0.0,
    ) -> list[Reply]:
        """Answer every dialogue, in padded batches of similar length; greedy at temperature 0.

        A bare list of messages is a dialogue without tools.
        """
        prompts = [self._prompt(one) for one in dialogues]
        replies = [Reply("", False, 0, tuple(prompt)) for prompt in prompts]
        fitting = [place for place, prompt in enumerate(prompts) if len(prompt) < self.context]
        for batch in _batches({place: len(prompts[place]) for place in fitting}, max_tokens):
            given = self._generate([prompts[place] for place in batch], max_tokens, temperature)
            for place, reply in zip(batch, given, strict=True):
                replies[place] = reply
        return replies

    def first_choices(self, texts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[bool]]:
        """See `Answerer.first_choices`."""
        judged = []
        for prompt, answer in texts:
            with torch.inference_mode():
                logits = self.model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1]
            judged.append((logits.argmax(-1) == torch.tensor(answer)).tolist())
        return judged

    def close(self) -> None:
        """Forget the model."""
        self.model = None

    def _prompt(self, one: Dialogue | Sequence[Message]) -> list[int]:
        messages, tools = (one.messages, one.tools) if isinstance(one, Dialogue) else (one, ())
        text = self.tokenizer.apply_chat_template(
            list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _generate(self, prompts: list[list[int]], max_tokens: int, temperature: float) -> list[Reply]:
        rooms = [min(max_tokens, self.context - len(prompt)) for prompt in prompts]
        batch = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            sampling["temperature"] = temperature
        with torch.inference_mode():
            output = self.model.generate(**batch, max_new_tokens=max(rooms), **sampling)
        # Padding does not count as position, so a row may go on to its own limit, not the longest one's.
        rows = output[:, batch["input_ids"].shape[1] :].tolist()
        return [
            self._reply(prompt, row[:room]) for prompt, row, room in zip(prompts, rows, rooms, strict=True)
        ]

    def _reply(self, prompt: list[int], ids: list[int]) -> Reply:
        end = self.tokenizer.eos_token_id
        stopped = end in ids
        kept = ids[: ids.index(end)] if stopped else ids
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        whole = tuple([*kept, end] if stopped else kept)
        return Reply(text, stopped, len(kept), tuple(prompt), whole)


def _batches(lengths: Mapping[int, int], more: int) -> list[list[int]]:
    """Return places in groups of similar length, a prompt and ``more`` tokens each, within `BATCH_TOKENS`."""
    groups: list[list[int]] = []
    for place in sorted(lengths, key=lambda place: -lengths[place]):
        widest = lengths[groups[-1][0]] + more if groups else 0
        if not groups or (len(groups[-1]) + 1) * widest > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(place)
    return groups


def main(argv: Sequence[str] | None = None) -> int:
    """Chat in the terminal: ``python -m penstock.zoo.chat [FOLDER]``; an empty line ends it."""
    parser = argparse.ArgumentParser(prog="python -m penstock.zoo.chat", description=main.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="model folder (default: the bundled model)")
    parser.add_argument("--system", help="a system prompt")
    parser.add_argument("--temperature", type=float, default=0.0)
    options = parser.parse_args(argv)
    talker = Talker(options.folder)
    dialogue: list[Message] = [{"role": "system", "content": options.system}] if options.system else []
    while True:
        try:
            line = input("> ").strip()
        except EOFError:
            break
        if not line:
            break
        dialogue.append({"role": "user", "content": line})
        reply = talker.reply([dialogue], temperature=options.temperature)[0]
        print(reply.text)
        dialogue.append({"role": "assistant", "content": reply.text})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
