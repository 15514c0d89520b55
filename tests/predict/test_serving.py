"""From traffic to a ranker to scores at the door: the command and the settings."""

import json
import random

import pytest

from penstock.cli.main import main
from penstock.core.errors import ConfigError
from penstock.frontend.llm import LLM


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A ranker of the bundled model's tokens, trained on made-up lengths."""
    where = tmp_path_factory.mktemp("rank")
    rng, rows = random.Random(0), []
    for _ in range(120):
        count = rng.randint(1, 9)
        talk = [{"role": "user", "content": f"List {count} {rng.choice(['animals', 'colors', 'fruits'])}."}]
        rows.append({"messages": talk, "output_tokens": 5 * count})
    (where / "traffic.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert (
        main(["rank", "train", str(where / "traffic.jsonl"), "--out", str(where / "r"), "--epochs", "15"])
        == 0
    )
    return where


def test_the_command_trains_and_measures(folder, capsys):
    assert main(["rank", "eval", str(folder / "r"), str(folder / "traffic.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert float(printed.split("tau")[1].split()[0]) > 0.5 and "120 requests" in printed


def test_the_engine_gets_scores_unless_the_client_declared_one(folder):
    from penstock.frontend.prompts import RequestOptions

    with LLM(ranker=str(folder / "r"), order="ltr", max_num_seqs=2) as llm:
        submitted = []
        submit = llm._core.submit
        llm._core.submit = lambda spec: (submitted.append(spec), submit(spec))[1]
        talks = [[{"role": "user", "content": f"List {n} animals."}] for n in (9, 1)]
        llm.chat(talks, max_tokens=2)
        llm.chat(talks, max_tokens=2, options=RequestOptions(length_score=7.0))
        scores = [spec.length_score for spec in submitted]
    assert scores[0] > scores[1] > 0 and scores[2:] == [7.0, 7.0]


def test_a_ranker_that_is_none_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.ranker"):
        LLM(ranker=str(tmp_path))


def test_a_cost_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="cost"):
        LLM(cost="fit:nothing.json")


def test_policies_see_the_cost_that_is_set():
    with LLM(cost="penstock-chat@l4", shape="slo", admit="deadline") as llm:
        assert llm._core.scheduler.view.cost is not None
        assert llm.generate("Hi", max_tokens=2)[0].finished
