"""Talking to a model folder through transformers: the reference that evaluation and tests rely on."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from penstock.zoo import bundled_model_path
from penstock.zoo.data.mixture import Message


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered, and whether it stopped by itself."""

    text: str
    stopped: bool
    tokens: int


class Talker:
    """A model folder loaded with transformers, in fp32 on the CPU.

    Args:
        folder: an ordinary Hugging Face folder; the bundled model by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = folder or bundled_model_path()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model.train(False)

    def reply(
        self, dialogues: Sequence[list[Message]], max_tokens: int = 256, temperature: float = 0.0
    ) -> list[Reply]:
        """Answer every dialogue (one padded batch); greedy at temperature 0."""
        texts = [
            self.tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
            for dialogue in dialogues
        ]
        batch = self.tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            sampling["temperature"] = temperature
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_tokens,
                **sampling,
            )
        return [self._reply(row.tolist()) for row in output[:, batch["input_ids"].shape[1] :]]

    def _reply(self, ids: list[int]) -> Reply:
        end = self.tokenizer.eos_token_id
        stopped = end in ids
        kept = ids[: ids.index(end)] if stopped else ids
        return Reply(self.tokenizer.decode(kept, skip_special_tokens=True), stopped, len(kept))


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
