"""Token id -> bytes, for the two families of tokenizers whose decoding is a concatenation of bytes.

Byte-level BPE (Radford et al. 2019) writes every byte as a printable character; SentencePiece-style
vocabularies (Kudo and Richardson 2018) write a space as U+2581 and fall back to ``<0xNN>`` tokens. Anything
else (WordPiece, custom decoders) has no byte codec and is decoded through a window, see `detokenizer`.
"""

from __future__ import annotations

import json
import random
import re
from typing import Any, Literal

SPACE_MARK = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")

Head = Literal["keep", "strip-one", "drop-marks"]
"""What happens at the start of the text: nothing; one space goes; the first token's space marks go."""


def byte_alphabet() -> dict[str, int]:
    """Return the printable character -> byte map of byte-level BPE."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    table.update({chr(256 + i): byte for i, byte in enumerate(others)})
    return table


class TokenCodec:
    """Bytes of single tokens, cached per id.

    Args:
        backend: a ``tokenizers.Tokenizer``.
        byte_level: byte-level BPE if true, SentencePiece style otherwise.
        byte_fallback: whether ``<0xNN>`` tokens stand for bytes (SentencePiece style only).
        head: treatment of the start of the text.
    """

    def __init__(self, backend: Any, *, byte_level: bool, byte_fallback: bool, head: Head) -> None:
        self._backend = backend
        self._alphabet = byte_alphabet() if byte_level else None
        self._byte_fallback = byte_fallback
        self.head: Head = head
        self._cache: dict[int, bytes] = {}

    def token_bytes(self, token_id: int) -> bytes:
        """Return what the token adds to the text; empty for ids outside the vocabulary."""
        found = self._cache.get(token_id)
        if found is None:
            found = self._cache[token_id] = self._convert(self._backend.id_to_token(token_id))
        return found

    def head_bytes(self, token_id: int) -> bytes:
        """Return what the token adds when it is the first that is not skipped."""
        raw = self.token_bytes(token_id)
        if self.head == "strip-one":
            return raw.removeprefix(b" ")
        if self.head == "drop-marks":
            return self._convert((self._backend.id_to_token(token_id) or "").replace(SPACE_MARK, ""))
        return raw

    def _convert(self, token: str | None) -> bytes:
        if token is None:
            return b""
        if self._alphabet is not None:
            mapped = [self._alphabet.get(char) for char in token]
            if None in mapped:  # an added token with characters beyond the alphabet stands for itself
                return token.encode()
            return bytes(byte for byte in mapped if byte is not None)
        if self._byte_fallback and (match := _BYTE_TOKEN.fullmatch(token)):
            return bytes([int(match.group(1), 16)])
        return token.replace(SPACE_MARK, " ").encode()


def find_codec(backend: Any) -> TokenCodec | None:
    """Recognise the tokenizer's decoder and return a codec that reproduces it, or None.

    The guess is checked against the tokenizer's own decoding on random token sequences, so an unusual
    decoder costs speed (the window is used) but never correctness.
    """
    try:
        decoder = json.loads(backend.decoder.__getstate__())
    except (AttributeError, TypeError, ValueError):
        return None
    steps = decoder["decoders"] if decoder.get("type") == "Sequence" else [decoder]
    codec = _codec_of(backend, steps)
    return codec if codec is not None and _agrees(codec, backend) else None


def _codec_of(backend: Any, steps: list[dict[str, Any]]) -> TokenCodec | None:
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return TokenCodec(backend, byte_level=True, byte_fallback=False, head="keep")
    if kinds == ["Metaspace"]:
        head: Head = "keep" if steps[0].get("prepend_scheme") == "never" else "drop-marks"
        if steps[0].get("replacement") != SPACE_MARK:
            return None
        return TokenCodec(backend, byte_level=False, byte_fallback=False, head=head)
    if kinds and kinds[0] == "Replace" and steps[0].get("pattern") == {"String": SPACE_MARK}:
        rest = [kind for kind in kinds[1:] if kind != "Fuse"]
        strip = steps[-1] if kinds[-1] == "Strip" else {"content": " ", "start": 0, "stop": 0}
        known = rest in ([], ["ByteFallback"], ["ByteFallback", "Strip"], ["Strip"])
        if known and strip["content"] == " " and strip["stop"] == 0 and strip["start"] in (0, 1):
            return TokenCodec(
                backend,
                byte_level=False,
                byte_fallback="ByteFallback" in rest,
                head="strip-one" if strip["start"] else "keep",
            )
    return None


def _agrees(codec: TokenCodec, backend: Any, rounds: int = 24, length: int = 12) -> bool:
    """Compare with the tokenizer's own decoding; lone ``<0xNN>`` bytes are left out (see `Detokenizer`)."""
    size = backend.get_vocab_size(with_added_tokens=True)
    rng = random.Random(size)
    for _ in range(rounds):
        drawn = (rng.randrange(size) for _ in range(length))
        ids = [i for i in drawn if not _BYTE_TOKEN.fullmatch(backend.id_to_token(i) or "")]
        raw = b"".join(
            codec.head_bytes(token) if index == 0 else codec.token_bytes(token)
            for index, token in enumerate(ids)
        )
        if raw.decode("utf-8", "replace") != backend.decode(ids, skip_special_tokens=False):
            return False
    return True
