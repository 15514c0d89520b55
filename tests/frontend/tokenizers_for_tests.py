"""Tiny tokenizers of every family, trained in milliseconds."""

from functools import cache

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

CORPUS = [
    "the quick brown fox jumps over the lazy dog, hello world! don't stop.",
    "你好世界 naïve café 😀 日本語 テスト",
    "def f(x):\n    return x  # two  spaces\n\n",
    "STOP stop END end 1234 5678",
] * 4
SPECIALS = ["<unk>", "<s>", "</s>"]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('unknown role ' + m['role']) }}{% endif %}"
    "[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def byte_level(vocab: int = 380) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=vocab,
            special_tokens=SPECIALS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    backend.add_tokens(["naïve", "日本"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def llama_style(strip: bool = True) -> Backend:
    """SentencePiece BPE with byte fallback; the space mark is put in front as Llama 2 does (Gemma: not)."""
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    trained = Backend(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if strip else "never")
    trained.train_from_iterator(
        [CORPUS[0], CORPUS[2], CORPUS[3]],
        trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIALS, show_progress=False),
    )
    words = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    vocab = {token: i for i, token in enumerate(dict.fromkeys([*SPECIALS, *bytes_, *words]))}
    merges = _merges(vocab)
    backend = Backend(models.BPE(vocab=vocab, merges=merges, byte_fallback=True, unk_token="<unk>"))
    backend.add_special_tokens(SPECIALS)
    steps = [normalizers.Prepend("▁")] if strip else []
    backend.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    tail = [decoders.Strip(" ", 1, 0)] if strip else []
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *tail]
    )
    return backend


def _merges(vocab):
    found = []
    for token in vocab:
        for cut in range(1, len(token)):
            if not token.startswith("<") and token[:cut] in vocab and token[cut:] in vocab:
                found.append((token[:cut], token[cut:]))
    return found


def metaspace() -> Backend:
    backend = Backend(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.train_from_iterator(
        CORPUS,
        trainers.UnigramTrainer(
            vocab_size=150, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False
        ),
    )
    return backend


def word_piece() -> Backend:
    backend = Backend(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        CORPUS, trainers.WordPieceTrainer(vocab_size=250, special_tokens=SPECIALS, show_progress=False)
    )
    return backend


def odd_decoder() -> Backend:
    """A byte-level decoder followed by a replacement: no codec recognises it."""
    backend = byte_level()
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(Regex("x"), "y")])
    return backend


FAMILIES = {
    "byte-level": byte_level,
    "llama": llama_style,
    "gemma": lambda: llama_style(strip=False),
    "metaspace": metaspace,
    "wordpiece": word_piece,
    "odd": odd_decoder,
}


@cache
def fast(family: str = "byte-level", template: bool = True):
    """Return a transformers fast tokenizer."""
    from transformers import PreTrainedTokenizerFast

    inner = PreTrainedTokenizerFast(
        tokenizer_object=FAMILIES[family](), unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    if template:
        inner.chat_template = TEMPLATE
    return inner
