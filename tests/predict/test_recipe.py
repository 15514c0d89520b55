"""The shipped ranker's recipe: its data, a smoke run, its measure."""

import itertools

import pytest
import torch

from penstock.cli.main import main as penstock
from penstock.core.errors import ConfigError
from penstock.frontend.model import load_tokenizer
from penstock.frontend.prompts import Chat
from penstock.predict.evaluation import evaluate_ranker, score_samples
from penstock.predict.ranker import LengthRanker, ranker_folder
from penstock.predict.recipe import SMOKE, fit, main
from penstock.predict.requests import reference_samples
from penstock.predict.traffic import write_traffic
from penstock.zoo.data.base import norm
from penstock.zoo.data.foreseeable import EVERYDAY, foreseeable


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the smoke recipe makes."""
    where = tmp_path_factory.mktemp("ranker")
    assert main(["--smoke", "--out", str(where)]) == 0
    return where


def asked(split, count=400, skills=EVERYDAY):
    return list(itertools.islice(foreseeable(3, split, skills), count))


def test_requests_repeat_by_seed_and_ask_for_every_skill():
    first = asked("train")
    assert first == asked("train")
    assert {request.skill for request in first} == set(EVERYDAY)
    assert all(request.messages[-1]["role"] == "user" and request.answer for request in first)
    with pytest.raises(KeyError, match="nonsense"):
        asked("train", 1, ("lists", "nonsense"))


def test_held_out_counts_and_lists_are_never_trained_on():
    """The question by its words, which noise does not change; typos aside, the answer tells it too."""
    skills = ("counting", "yesno")
    known = {norm(request.messages[-1]["content"]) for request in asked("train", 4000, skills)}
    unseen = [norm(request.messages[-1]["content"]) for request in asked("test", 300, skills)]
    assert sum(text in known for text in unseen) == 0


def test_samples_are_what_the_engine_would_see():
    from penstock.config.settings import Config

    tokenizer = load_tokenizer(Config())
    _, samples = reference_samples(20, 3)
    for sample, request in zip(samples, asked("train", 20), strict=True):
        text = tokenizer.render_chat(Chat(messages=request.messages))
        assert sample.prompt_ids == tokenizer.encode(text, add_special_tokens=False)
        assert sample.output_tokens == len(tokenizer.encode(request.answer, add_special_tokens=False)) + 1


def test_smoke_training_lowers_the_loss_and_can_learn_from_traffic(tmp_path):
    path = tmp_path / "traffic.jsonl"
    write_traffic(path, reference_samples(40, 9)[1])
    _, score, epochs = fit(SMOKE, path, quiet=True)
    assert epochs[-1].loss < 0.95 * epochs[0].loss
    assert len(epochs) == SMOKE.epochs and score.requests == SMOKE.tested
    assert score.low < score.tau < score.high and score.tau > 0.1
    assert score.milliseconds > 0 and set(score.within) <= set(EVERYDAY)
    with pytest.raises(ConfigError, match="cannot be read"):
        fit(SMOKE, tmp_path / "none.jsonl", quiet=True)


def test_the_measure_is_that_of_the_scores(folder):
    score = evaluate_ranker(folder, requests=80, seed=5)
    assert score.requests == 80
    skills, samples = reference_samples(80, "evaluate:5", "test")
    again = score_samples(LengthRanker.load(folder), samples, skills)
    assert (again.tau, again.within) == (score.tau, score.within)
    assert evaluate_ranker(folder, requests=80, seed=6).tau != score.tau


def test_the_command_measures_it_on_traffic(folder, tmp_path, capsys):
    path = tmp_path / "traffic.jsonl"
    write_traffic(path, reference_samples(50, 8, "test")[1])
    assert penstock(["rank", "eval", str(folder), str(path)]) == 0
    assert "on 50 requests" in capsys.readouterr().out
    write_traffic(path, reference_samples(2, 8, "test")[1])
    assert penstock(["rank", "eval", str(folder), str(path)]) == 2


def test_a_folder_is_itself(tmp_path):
    assert ranker_folder(str(tmp_path)) == tmp_path


def test_the_card_tells_what_was_measured(folder):
    card = (folder / "README.md").read_text()
    score = evaluate_ranker(folder, SMOKE.tested, SMOKE.seed)
    assert "license: apache-2.0" in card and f"**{score.tau:.3f}**" in card
    assert all(f"| {name} | {tau:.2f} |" in card for name, tau in score.within.items())


def test_the_shipped_ranker_loads_by_name_and_puts_short_answers_first():
    from penstock import LLM

    asked = ("Is a train a vehicle?", "List three fruits.", "Write a long story about a fox.")
    with LLM(ranker="bundled", order="ltr") as llm:
        assert llm._ranker is not None and llm._ranker.vocab_size == llm.info.vocab_size
        talks = [[{"role": "user", "content": text}] for text in asked]
        prompts = [
            llm.tokenizer.encode(llm.tokenizer.render_chat(Chat(messages=talk)), add_special_tokens=False)
            for talk in talks
        ]
        scores = llm._ranker.score(prompts)
    assert scores == sorted(scores) and scores[-1] > 3 * scores[0]


def test_the_shipped_ranker_reaches_its_aim():
    score = evaluate_ranker(requests=300, seed=11)
    assert score.low > 0.6
    assert score.by_prompt_length < score.tau
