"""Log-probabilities of token ids -> with the tokens' text, bytes and place in the text."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.core.plan import TokenLogprobs
from penstock.frontend.outputs import TokenLogprob, TopLogprob
from penstock.frontend.text.tokenizer import Tokenizer


def dress(tokenizer: Tokenizer, entry: TokenLogprobs, offset: int) -> TokenLogprob:
    """Return the entry with texts.

    Args:
        tokenizer: whose ids they are.
        entry: scores of one position.
        offset: characters of text before the token.
    """
    raw = tokenizer.token_bytes(entry.token)
    return TokenLogprob(
        token_id=entry.token,
        token=raw.decode("utf-8", "replace"),
        bytes=raw,
        logprob=entry.logprob,
        rank=entry.rank,
        offset=offset,
        top=tuple(_top(tokenizer, token_id, logprob) for token_id, logprob in entry.top),
    )


def dress_prompt(
    tokenizer: Tokenizer, prompt_ids: Sequence[int], entries: Sequence[TokenLogprobs]
) -> tuple[TokenLogprob | None, ...]:
    """Return one entry per prompt token, None for the first, offsets counted in the decoded prompt.

    Args:
        tokenizer: whose ids they are.
        prompt_ids: the prompt.
        entries: scores of prompt tokens 1, 2, ... in order.
    """
    detokenizer = tokenizer.detokenizer(skip_special_tokens=False)
    offset, dressed = 0, list[TokenLogprob | None]()
    for index, token_id in enumerate(prompt_ids[: len(entries) + 1]):
        dressed.append(dress(tokenizer, entries[index - 1], offset) if index else None)
        offset += len(detokenizer.push(token_id))
    return tuple(dressed)


def _top(tokenizer: Tokenizer, token_id: int, logprob: float) -> TopLogprob:
    raw = tokenizer.token_bytes(token_id)
    return TopLogprob(token_id=token_id, token=raw.decode("utf-8", "replace"), bytes=raw, logprob=logprob)
