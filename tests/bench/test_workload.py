"""Datasets: what they contain, what changes when one knob turns, and how bad files are refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.bench.workload import FIRST_ID, WorkloadSpec, build_workload
from penstock.core.errors import ConfigError
from penstock.workload.readers.open import read_requests
from tests.data import data_path

CSV = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,55
2023-11-16 18:15:52.0000000,10,0
"""


def test_random_is_deterministic_and_within_bounds():
    spec = WorkloadSpec(count=40, input_len="uniform:5:9", output_len="uniform:2:4", vocab_size=100, rate=2.0)
    items = build_workload(spec)
    assert items == build_workload(spec)
    assert items != build_workload(replace(spec, seed=1))
    assert {len(item.prompt) for item in items} == {5, 6, 7, 8, 9}
    assert {item.output_tokens for item in items} == {2, 3, 4}
    assert all(FIRST_ID <= token < 100 for item in items for token in item.prompt)
    assert [item.due for item in items] == sorted(item.due for item in items)


def test_one_knob_leaves_the_others_draws_alone():
    spec = WorkloadSpec(count=30, input_len="uniform:5:90", output_len="uniform:2:40", rate=1.0)
    base = build_workload(spec)
    faster = build_workload(replace(spec, rate=10.0))
    assert [item.prompt for item in faster] == [item.prompt for item in base]
    assert [item.due * 10 for item in faster] == pytest.approx([item.due for item in base])
    other = build_workload(replace(spec, input_len="lognormal:20:1"))
    assert [item.due for item in other] == [item.due for item in base]
    assert [item.output_tokens for item in other] == [item.output_tokens for item in base]
    longer = build_workload(replace(spec, output_len="uniform:2:400"))
    assert [item.prompt for item in longer] == [item.prompt for item in base]
    assert [item.due for item in longer] == [item.due for item in base]


def test_shared_prefix_has_that_many_prefixes_and_own_tails():
    items = build_workload(
        WorkloadSpec(
            dataset="shared-prefix", count=60, groups=3, prefix_len=16, input_len="8", vocab_size=5000
        )
    )
    assert len({tuple(item.prompt[:16]) for item in items}) == 3
    assert len({tuple(item.prompt[16:]) for item in items}) == 60
    assert {len(item.prompt) for item in items} == {24}


def test_azure_trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(CSV)
    items = build_workload(WorkloadSpec(dataset="trace", path=path, speed=2.0, max_input_len=380))
    assert [len(item.prompt) for item in items] == [374, 380, 380]
    assert [item.output_tokens for item in items] == [44, 109, 55]
    assert [item.due for item in items] == pytest.approx([0.0, 4.314579 / 2, 4.541877 / 2], abs=1e-5)


def test_rate_overrides_the_times_of_a_trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text(CSV)
    items = build_workload(WorkloadSpec(dataset="trace", path=path, rate=float("inf")))
    assert [item.due for item in items] == [0.0, 0.0, 0.0]


def test_json_lines_trace_is_sorted(tmp_path):
    path = tmp_path / "trace.jsonl"
    rows = [{"arrival": 4, "prompt_tokens": 3, "output_tokens": 2}]
    rows += [{"arrival": 1.5, "prompt_tokens": 5, "output_tokens": 7, "ignored": True}]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    rows = list(read_requests(str(path)))
    assert [(row.arrival, row.prompt_tokens, row.output_tokens) for row in rows] == [(1.5, 5, 7), (4.0, 3, 2)]
    assert [item.due for item in build_workload(WorkloadSpec(dataset="trace", path=path))] == [0.0, 2.5]


def test_the_real_azure_traces():
    rows = list(read_requests(str(data_path("azure_2023", "AzureLLMInferenceTrace_conv.csv"))))
    assert len(rows) == 19_366
    assert (rows[0].prompt_tokens, rows[0].output_tokens) == (374, 44)
    assert rows[-1].arrival - rows[0].arrival == pytest.approx(3501, abs=120)


def test_prompts_from_json_lines(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Hi", "output_tokens": 3, "priority": 2}\n{"messages": [{"role": "user"}]}\n')
    first, second = build_workload(WorkloadSpec(dataset="jsonl", path=path, output_len="9"))
    assert (first.prompt, first.output_tokens, first.extra) == ("Hi", 3, {"priority": 2})
    assert (second.prompt, second.output_tokens, second.extra) == ([{"role": "user"}], 9, {})


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "TIMESTAMP,ContextTokens\n", "lacks the column GeneratedTokens"),
        ("a.csv", CSV.replace("396", "many"), "line 3"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no requests"),
        ("a.jsonl", '{"arrival": 1}\n', "line 1: .*output_tokens"),
        ("a.txt", "", "expected a .csv or .jsonl trace"),
    ],
)
def test_bad_traces_are_refused(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=says):
        list(read_requests(str(tmp_path / name)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1: not valid JSON"),
        ("[1]", "'prompt' or 'messages'"),
        ('{"text": "x"}', "'prompt' or 'messages'"),
        ('{"prompt": "x", "output_tokens": "many"}', "must be numbers"),
        ("\n", "holds no prompts"),
    ],
)
def test_bad_prompt_files_are_refused(tmp_path, text, says):
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        build_workload(WorkloadSpec(dataset="jsonl", path=path))


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"rate": 0.0}, "--request-rate"),
        ({"burstiness": -1.0}, "--burstiness"),
        ({"speed": 0.0}, "--trace-speed"),
        ({"count": -1}, "--num-prompts"),
        ({"dataset": "novel"}, "--dataset-name"),
        ({"dataset": "trace"}, "--dataset-path"),
        ({"dataset": "trace", "path": Path("/none.csv")}, "--dataset-path"),
        ({"dataset": "shared-prefix", "groups": 0}, "--num-prefixes"),
        ({"input_len": "no"}, "--input-len"),
    ],
)
def test_bad_settings_name_their_flag(change, flag):
    with pytest.raises(ConfigError) as caught:
        build_workload(WorkloadSpec(**change))
    assert caught.value.field == flag
