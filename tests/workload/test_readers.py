"""Readers: what they make of good files, count of failures, and say about bad ones."""

import json

import msgspec
import pytest

from penstock.core.errors import ConfigError
from penstock.core.request import SLO, Turn
from penstock.workload.arrivals import Gamma
from penstock.workload.lengths import Joint
from penstock.workload.pages import PageSpans, page_hashes
from penstock.workload.readers.jsonl import write_jsonl
from penstock.workload.readers.lines import ReadReport, Source, in_order
from penstock.workload.readers.open import read_requests
from penstock.workload.readers.sharegpt import estimate, sharegpt
from penstock.workload.readers.tables import length_arrays, stamp
from penstock.workload.request import Span, TraceRequest
from tests.data import data_path

OLD = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
NEW = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def put(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def brief(requests):
    return [(round(r.arrival, 6), r.prompt_tokens, r.output_tokens) for r in requests]


def test_azure_stamps_with_and_without_zone():
    assert stamp("2023-11-16 18:15:46.6805900") == pytest.approx(1700158546.68059)
    assert stamp("2024-05-10 00:00:00.009930+00:00") == pytest.approx(1715299200.00993)
    assert stamp("2024-05-10 00:00:00+00:00") == stamp("2024-05-10 00:00:00") == 1715299200


def test_azure_of_a_later_year(tmp_path):
    text = "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n"
    text += (
        "2024-05-10 00:00:01.5+00:00,0,10,2\n2024-05-10 00:00:00.5+00:00,1,11,0\n2024-05-10 00:00:03,1,12,3\n"
    )
    report = ReadReport()
    rows = list(read_requests("azure:" + put(tmp_path, "a.csv", text), report=report, speed=2.0))
    assert brief(rows) == [(0, 10, 2), (0.75, 12, 3)]
    assert (report.read, report.dropped) == (2, {"no output tokens (failed)": 1})


def test_burstgpt_old_and_new(tmp_path):
    rows = "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,230,1317,Conversation log\n"
    rows += "118,GPT-4,417,0,417,API log\n119,GPT-4,417,4,421,API log\n"
    report = ReadReport()
    old = list(read_requests("burstgpt:" + put(tmp_path, "old.csv", OLD + rows), report=report))
    assert brief(old) == [(0, 472, 18), (40, 1087, 230), (114, 417, 4)]
    assert report.dropped == {"no output tokens (failed)": 1}
    new = NEW + "5,7,3.5,ChatGPT,472,18,490,Conversation log\n9,,1,GPT-4,8,2,10,API log\n"
    made = list(read_requests("burstgpt:" + put(tmp_path, "new.csv", new)))
    assert brief(made) == [(0, 472, 18), (4, 8, 2)]
    assert [r.program for r in made] == ["session-7", None]


def full(i=0):
    return TraceRequest(
        id=f"x{i}",
        arrival=1.5 + i,
        prompt=(Span(3, 20), Span(9, 5, 7)),
        output_tokens=6,
        max_tokens=9,
        output_stream=12,
        think_tokens=2,
        tenant="t",
        weight=2.0,
        priority=-1,
        slo=SLO(ttft=0.5, deadline=9.0),
        program="p",
        turn=Turn(index=2, last=True, tool="search"),
        length_score=3.5,
        group="g",
    )


def test_our_own_lines_round_trip(tmp_path):
    """No field may be left at its default, or losing it would not show; numbers that `full` leaves out are
    set."""
    unset = [
        f.name for f in msgspec.structs.fields(TraceRequest) if f.default == 0 == getattr(full(), f.name)
    ]
    every = msgspec.structs.replace(full(), **dict.fromkeys(unset, 7))
    assert set(TraceRequest.__struct_fields__) == set(msgspec.to_builtins(every))
    requests = [every, TraceRequest(id="y", arrival=2.0, prompt=(Span(1, 1),), output_tokens=1), full(5)]
    path = tmp_path / "own.jsonl"
    path.write_bytes(b"".join(write_jsonl(requests)))
    assert list(read_requests(str(path))) == requests


def test_minimal_lines(tmp_path):
    text = '{"arrival": 3, "prompt_tokens": 4, "output_tokens": 5}\n\n'
    text += '{"arrival": 1, "prompt_tokens": 2, "output_tokens": 1}\n'
    rows = list(read_requests("jsonl:" + put(tmp_path, "a.jsonl", text)))
    assert brief(rows) == [(1, 2, 1), (3, 4, 5)]
    assert not set(rows[0].prompt_ids()) & set(rows[1].prompt_ids())


def test_page_hashes_share_exactly_what_was_shared(tmp_path):
    """Two prompts with 8 common tokens, then a turn that quotes the first prompt and its answer."""
    first, answer = list(range(1, 14)), [90, 91, 92, 93, 94]
    second = [*range(1, 9), 50, 51, 52]
    third = [*first, *answer, 70, 71, 72]
    lines = [
        {
            "arrival": i,
            "prompt_tokens": len(prompt),
            "output_tokens": len(out),
            "page": 4,
            "pages": page_hashes([*prompt, *out], 4, b"salt"),
        }
        for i, (prompt, out) in enumerate([(first, answer), (second, [1, 2]), (third, [3])])
    ]
    path = put(tmp_path, "rec.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    a, b, c = read_requests(path)
    assert [r.prompt_tokens for r in (a, b, c)] == [13, 11, 21]
    ids = [r.prompt_ids() for r in (a, b, c)]
    assert ids[0][:8] == ids[1][:8]
    assert not set(ids[0][8:]) & set(ids[1][8:])
    quoted = ids[0] + tuple(Span(a.output_stream, 5).ids())
    assert ids[2][:16] == quoted[:16]  # full pages only: 18 common tokens are 4 pages of 4
    assert ids[2][16] not in quoted


def test_chains_tell_equal_pages_after_different_ones_apart():
    one, two = page_hashes([1, 2, 3, 4, 5], 2, b"s"), page_hashes([9, 2, 3, 4], 2, b"s")
    assert len(one) == 2
    assert one[1] != two[1]
    assert page_hashes([1, 2, 3, 4], 2, b"s") == one
    assert page_hashes([1, 2], 2, b"other")[0] != one[0]
    spans, _ = PageSpans().spans(7, 1, 0, ())
    assert spans == (Span(1, 7),)


def test_recorded_failures_are_dropped(tmp_path):
    text = '{"arrival": 0, "prompt_tokens": 4, "output_tokens": 5, "finish": "abort"}\n'
    text += '{"arrival": 0, "prompt_tokens": 4, "output_tokens": 5, "finish": "length"}\n'
    report = ReadReport()
    assert len(list(read_requests(put(tmp_path, "a.jsonl", text), report=report))) == 1
    assert report.dropped == {"ended by abort": 1}


def test_sharegpt_array_and_lines(tmp_path):
    talks = [
        {
            "id": "1",
            "conversations": [{"from": "human", "value": "x" * 40}, {"from": "gpt", "value": "y" * 10}],
        },
        {"conversations": [{"from": "gpt", "value": "y"}]},
        {
            "messages": [
                {"role": "system", "content": "[z] "},
                {"role": "user", "content": "é" * 4},
                {"role": "assistant", "content": "ok"},
            ]
        },
        {"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": ""}]},
    ]
    for text in (json.dumps(talks), json.dumps(talks, indent=1), "\n".join(map(json.dumps, talks))):
        report = ReadReport()
        rows = list(read_requests("sharegpt:" + put(tmp_path, "s.json", text), report=report))
        assert brief(rows) == [(0, 10, 3), (0, 3, 1)]
        assert report.dropped == {"no question and answer": 1, "no output tokens (failed)": 1}
    words = sharegpt(Source(tmp_path / "s.json"), lambda text: len(text.split()))
    assert brief(words) == [(0, 1, 1), (0, 2, 1)]
    assert (estimate(""), estimate("a"), estimate("abcde")) == (0, 1, 2)


def test_sharegpt_reads_entries_longer_than_its_buffer(tmp_path):
    talks = [
        {"conversations": [{"from": "human", "value": "x" * 200_000}, {"from": "gpt", "value": "y\n[{" * 9}]}
    ] * 3
    assert len(list(read_requests("sharegpt:" + put(tmp_path, "s.json", json.dumps(talks))))) == 3


def test_untimed_rows_take_an_arrival_process(tmp_path):
    path = put(tmp_path, "l.csv", "num_prefill_tokens,num_decode_tokens\n7,1\n8,2\n9,3\n")
    rows = list(read_requests("lengths:" + path, arrivals=Gamma(2.0, cv=0.0), limit=2))
    assert brief(rows) == [(0, 7, 1), (0.5, 8, 2)]
    prompts, outputs = length_arrays(Source(tmp_path / "l.csv"))
    import numpy as np

    drawn = Joint(prompts, outputs).draws(np.random.SeedSequence(1))
    pairs = {next(drawn) for _ in range(100)}
    assert pairs == {(7, 1), (8, 2), (9, 3)}


@pytest.mark.parametrize(
    ("spec", "text", "says"),
    [
        ("burstgpt:a.csv", OLD.replace("Response", "Answer"), "lacks the column Response tokens"),
        ("burstgpt:a.csv", OLD + "x,ChatGPT,1,1,1,API log\n", "line 2"),
        ("azure:a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6\n", "line 2"),
        ("jsonl:a.jsonl", "{nope\n", "line 1: .*malformed"),
        ("jsonl:a.jsonl", '\n{"arrival": 0, "output_tokens": 1}\n', "line 2: expected arrival"),
        ("jsonl:a.jsonl", '{"arrival": "x", "prompt_tokens": 1, "output_tokens": 1}', "line 1"),
        ("vllm:a.jsonl", '{"input_toks": 1}', "line 1: .*output_toks"),
        ("sharegpt:a.json", '[{"conversations": []},\n {"conversations": [}]', "line 2: not valid JSON"),
        ("sharegpt:a.json", "[3]", "line 1: expected an object"),
        ("lengths:a.csv", "a,b\n1,2\n", "lacks the column num_prefill_tokens"),
        ("lengths:none.csv", None, "cannot read"),
        ("parquet:a.csv", "", "expected a .csv or .jsonl trace"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, spec, text, says):
    schema, name = spec.split(":")
    if text is not None:
        put(tmp_path, name, text)
    with pytest.raises(ConfigError, match=says):
        list(read_requests(f"{schema}:{tmp_path / name}", field="trace"))


def test_order_is_restored_within_the_window_and_refused_beyond(tmp_path):
    def at(times):
        return (TraceRequest(id=str(t), arrival=t, prompt=(Span(1, 1),), output_tokens=1) for t in times)

    source = Source(tmp_path)
    assert [r.arrival for r in in_order(source, at([3, 1, 2, 5, 4]), window=2)] == [1, 2, 3, 4, 5]
    with pytest.raises(ConfigError, match="sort the file"):
        list(in_order(source, at([5, 6, 7, 1]), window=2))


def test_the_real_length_tables():
    prompts, outputs = length_arrays(Source(data_path("lengths", "sharegpt_8k_llama2.csv")))
    assert len(prompts) > 10_000
    assert prompts.mean() == pytest.approx(2340, rel=0.1)
    assert outputs.mean() == pytest.approx(439, rel=0.1)


def test_the_real_vllm_run():
    rows = list(read_requests(f"vllm:{data_path('rtx4090_llama3.1_8b', 'vllm_run', 'requests.jsonl')}"))
    assert len(rows) == 300
    assert (rows[0].id, rows[0].arrival, rows[0].prompt_tokens, rows[0].output_tokens) == (
        "bench-0",
        0,
        2358,
        531,
    )
    assert sorted(r.arrival for r in rows) == [r.arrival for r in rows]
