import json
import subprocess
import sys

import pytest
from tokenizers_for_tests import fast

from penstock.core.errors import ConfigError, InvalidRequest
from penstock.core.plan import TokenLogprobs
from penstock.frontend.prompts import Chat
from penstock.frontend.text.logprobs import dress, dress_prompt
from penstock.frontend.text.tokenizer import Tokenizer

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(fast())


def test_loads_a_folder_and_encodes_as_transformers_does(tmp_path, tokenizer):
    fast().save_pretrained(tmp_path)
    loaded = Tokenizer.load(str(tmp_path))
    text = "hello café 世界"
    assert list(loaded.encode(text)) == fast().encode(text)
    assert loaded.encode(text)[0] == 1 and loaded.encode(text, add_special_tokens=False)[0] != 1
    assert loaded.decode(loaded.encode(text)) == text
    assert loaded.eos_id == 2 and loaded.has_chat_template and 0 in loaded.special_ids


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nothing"])
def test_unknown_folder_names_the_field(name):
    with pytest.raises(ConfigError, match=r"model.tokenizer: expected an existing folder"):
        Tokenizer.load(name)


def test_folder_without_tokenizer_names_the_folder(tmp_path):
    with pytest.raises(ConfigError, match=f"model.tokenizer: expected a tokenizer .*{tmp_path.name}"):
        Tokenizer.load(str(tmp_path))


def test_chat_template_of_the_model(tokenizer):
    text = tokenizer.render_chat(Chat(messages=HELLO))
    assert text == "<s>[user] hello</s>[assistant] "
    open_end = Chat(messages=HELLO, add_generation_prompt=False, continue_final_message=True)
    assert tokenizer.render_chat(open_end) == "<s>[user] hello"


def test_text_parts_are_joined(tokenizer):
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert tokenizer.render_chat(
        Chat(messages=[{"role": "user", "content": parts}])
    ) == tokenizer.render_chat(Chat(messages=HELLO))


def test_override_file_replaces_the_template(tmp_path):
    fast().save_pretrained(tmp_path)
    (tmp_path / "other.jinja").write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    loaded = Tokenizer.load(str(tmp_path), chat_template=str(tmp_path / "other.jinja"))
    assert loaded.render_chat(Chat(messages=HELLO)) == "<hello>"
    with pytest.raises(ConfigError, match=r"model.chat_template"):
        Tokenizer.load(str(tmp_path), chat_template=str(tmp_path / "missing.jinja"))


@pytest.mark.parametrize(
    ("messages", "field", "words"),
    [
        ([], "messages", "non-empty"),
        ("hello", "messages", "non-empty list"),
        (["hello"], "messages[0]", "object"),
        ([{"content": "x"}], "messages[0].role", "string"),
        ([{"role": "user"}], "messages[0].content", "nothing"),
        ([{"role": "user", "content": 3}], "messages[0].content", "int"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0]", "image_url"),
        ([{"role": "martian", "content": "x"}], "messages", "unknown role martian"),
    ],
)
def test_bad_conversations_name_the_field(tokenizer, messages, field, words):
    with pytest.raises(InvalidRequest) as caught:
        tokenizer.render_chat(Chat(messages=messages))
    assert caught.value.field == field and words in caught.value.message


def test_no_template_is_said_plainly():
    from copy import copy

    inner = copy(fast())
    inner.chat_template = None
    with pytest.raises(InvalidRequest, match=r"messages: this model has no chat template"):
        Tokenizer(inner).render_chat(Chat(messages=HELLO))


def test_bad_words_cover_both_positions(tokenizer):
    sequences = tokenizer.bad_word_ids(["hello"])
    assert {tokenizer.decode(ids) for ids in sequences} == {"hello", " hello"}
    with pytest.raises(InvalidRequest, match=r"bad_words\[1\]"):
        tokenizer.bad_word_ids(["fine", " "])


def test_logprobs_carry_text_bytes_and_offset(tokenizer):
    ids = tokenizer.encode("🙃", add_special_tokens=False)
    half = dress(tokenizer, TokenLogprobs(ids[0], -0.5, 1, ((ids[0], -0.5), (5, -1.0))), offset=7)
    assert half.bytes == "🙃".encode()[: len(half.bytes)] and half.token == "\ufffd"
    assert half.offset == 7 and half.rank == 1 and half.top[1].logprob == -1.0


def test_prompt_logprobs_start_with_none_and_offsets_follow_the_text(tokenizer):
    ids = tokenizer.encode("the quick fox")
    entries = [TokenLogprobs(token, -1.0, 1, ()) for token in ids[1:]]
    dressed = dress_prompt(tokenizer, ids, entries)
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    assert dressed[0] is None and len(dressed) == len(ids)
    assert all(whole[entry.offset :].startswith(entry.token) for entry in dressed[1:])


def test_a_generic_tokenizer_is_loaded_without_torch(model_folder):
    code = (
        "import sys; from penstock.frontend.async_engine import AsyncEngine;"
        "from penstock.frontend.text.tokenizer import Tokenizer;"
        f"t = Tokenizer.load({str(model_folder)!r}); t.encode('x'); print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "False", out.stderr


def test_a_tokenizer_of_a_named_class_is_loaded_as_that_class(tmp_path):
    fast().save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_class": "GPT2Tokenizer"}))
    assert type(Tokenizer.load(str(tmp_path)).inner).__name__.startswith("GPT2Tokenizer")


def test_importing_the_tokenizer_module_is_light():
    code = "import sys, penstock.frontend.text.tokenizer; print({'transformers', 'torch'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert out.stdout.strip() == "set()", out.stderr
