"""The engine as a candidate gives the answers that transformers gives."""

import json

import pytest
import torch
from safetensors.torch import save_file

from penstock.bench.examinee import EngineRoom, Examinee
from penstock.frontend.llm import LLM
from penstock.zoo import bundled_model_path
from penstock.zoo.chat import Talker
from penstock.zoo.exams.answers import Dialogue
from penstock.zoo.exams.questions import held_out

torch.set_num_threads(1)
TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


@pytest.fixture(scope="module")
def talker():
    return Talker()


@pytest.fixture(scope="module")
def exact(request):
    """The engine in fp32, as the reference is; bf16 would turn near ties."""
    candidate = Examinee.__new__(Examinee)
    candidate.name, candidate._llm, candidate.context = "exact", LLM(dtype="float32"), 2048
    request.addfinalizer(candidate.close)
    return candidate


def dialogues():
    asked = [one.dialogue for name in ("lists", "facts", "tools", "tone") for one in held_out(name, 3, 1)]
    return [*asked, Dialogue([{"role": "user", "content": "What is 2 + 2?"}], (TOOL,))]


def test_both_give_the_same_greedy_answers(talker, exact):
    want, got = talker.reply(dialogues(), max_tokens=40), exact.reply(dialogues(), max_tokens=40)
    assert got == want
    assert any(reply.stopped for reply in got)


def test_both_cut_at_the_end_of_the_context(talker, exact):
    asked = [Dialogue([{"role": "user", "content": "no " * count}]) for count in (2042, 3000)]
    want, got = talker.reply(asked, max_tokens=8), exact.reply(asked, max_tokens=8)
    assert got == want
    assert len(got[0].prompt_ids) + len(got[0].ids) == 2048
    assert (got[1].text, got[1].stopped, got[1].ids) == ("", False, ())


def test_both_judge_tokens_alike(talker, exact):
    answers = exact.reply(dialogues()[:4], max_tokens=30)
    own = [(reply.prompt_ids, reply.ids) for reply in answers]
    changed = [(prompt, (*ids[:2], 7, *ids[3:])) for prompt, ids in own]
    assert exact.first_choices(own) == [[True] * len(ids) for _, ids in own]
    judged = exact.first_choices(changed)
    assert judged == talker.first_choices(changed)
    assert all(kept[:3] == [True, True, False] for kept in judged)


def test_an_adapter_changes_the_answers_as_merged_by_the_reference(tmp_path):
    from penstock.zoo.adapters.evaluate import open_merged

    torch.manual_seed(0)
    stem = "base_model.model.model.layers.1.self_attn.o_proj"
    weights = {f"{stem}.lora_A.weight": torch.randn(4, 256), f"{stem}.lora_B.weight": torch.randn(256, 4)}
    save_file(weights, tmp_path / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "target_modules": ["o_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    asked = [Dialogue([{"role": "user", "content": text}]) for text in ("hi", "count to 7", "who are you?")]
    reference, plain = open_merged(bundled_model_path(), tmp_path), Talker()
    candidate = EngineRoom().open(bundled_model_path(), tmp_path)
    got, want = candidate.reply(asked, max_tokens=16), reference.reply(asked, max_tokens=16)
    candidate.close()
    assert got == want
    assert [one.ids for one in got] != [one.ids for one in plain.reply(asked, max_tokens=16)]


def test_vectors_are_unit_means_of_the_hidden_states(talker, exact):
    texts = ["What is Penstock?", "count to 7"]
    got = torch.from_numpy(exact.vectors(texts))
    for text, vector in zip(texts, got, strict=True):
        ids = torch.tensor([talker.tokenizer.encode(text)])
        hidden = talker.model.model(input_ids=ids).last_hidden_state[0].mean(0)
        assert torch.allclose(vector, torch.nn.functional.normalize(hidden, dim=0), atol=1e-4)
