"""Half a minute of the soak: overload, rude clients, every fault; the books must agree. Timings are judged by
the long run on a quiet machine, not here."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import soak
import soak_checks

pytestmark = pytest.mark.e2e


def test_half_a_minute_of_everything(tmp_path):
    report = soak.run(0.4, 0, tmp_path)
    wrong = [text for text in report["failures"] if not text.startswith(soak_checks.TIMING)]
    assert wrong == []
    summary = report["summary"]
    assert summary["engine_processes"] >= 3, "it died in three ways"
    assert summary["ends_by_reason"]["length"] > 10 and summary["taken_in_by_the_engine"] > 20
    assert sum(count for kind, count in summary["by_outcome"].items() if kind == "200") > 10


def seen(number, **more):
    one = soak_checks.Seen(f"soak-{number}", "alpha", True, "whole", 1.0)
    one.status, one.ended, one.finishes, one.dones = 200, 2.0, ("length",), 1
    for name, value in more.items():
        setattr(one, name, value)
    return one


@pytest.mark.parametrize(
    ("more", "log", "words"),
    [
        ({}, ["took", "length"], None),
        ({"finishes": ("length", "length")}, ["took", "length"], "2 ends"),
        ({"finishes": ()}, ["took", "length"], "0 ends"),
        ({"dones": 2}, ["took", "length"], "2 end marks"),
        ({"status": 0, "broken": "reset"}, ["took", "length"], "no answer"),
        ({"finishes": ("stop",)}, ["took", "length"], "its client saw stop"),
        ({}, ["took", "length", "length"], "2 times"),
        ({"finishes": (), "errors": 1}, ["took"], "never ended"),
        ({}, [], "never taken in"),
        ({"ended": 0.0}, ["took", "length"], "still open"),
    ],
)
def test_the_checks_find_what_is_planted(tmp_path, more, log, words):
    lines = []
    for word in log:
        entry = '{"took": "cmpl-soak-1 0", "tenant": "alpha", "at": 1.5}'
        if word != "took":
            entry = f'{{"ended": "cmpl-soak-1 0", "reason": "{word}", "detail": "", "at": 1.6}}'
        lines.append(entry + "\n")
    (tmp_path / "engine-1.jsonl").write_text("".join(lines))
    marks = {"began": 0.0, "ended": 10.0, "per_minute": 5, "concurrent": 2, "watchdog": 4}
    load = {"running": 0, "waiting": 0, "kv_cache_usage": 0.0}
    report = soak_checks.judge([seen(1, **more)], tmp_path, marks, [], [], [(1.0, 0.01, 200)], load, 0)
    if words is None:
        assert report["failures"] == []
    else:
        assert any(words in text for text in report["failures"]), report["failures"]


def test_limits_blocks_latency_and_restarts_are_judged(tmp_path):
    marks = {"began": 0.0, "ended": 10.0, "per_minute": 2, "concurrent": 1, "watchdog": 4}
    entries = [f'{{"took": "cmpl-soak-{i} 0", "tenant": "{who}", "at": {i}.5}}' for i, who in enumerate(
        ["gamma", "gamma", "gamma", "beta", "beta"])]  # fmt: skip
    entries += [
        f'{{"ended": "cmpl-soak-{i} 0", "reason": "length", "detail": "", "at": 50}}' for i in range(5)
    ]
    (tmp_path / "engine-1.jsonl").write_text("\n".join(entries) + "\n")
    clients = [seen(i) for i in range(5)]
    load = {"running": 0, "waiting": 0, "kv_cache_usage": 0.1}
    faults = [{"at": 0.0, "what": "kill"}]
    report = soak_checks.judge(clients, tmp_path, marks, [], faults, [(1.0, 0.5, 200)], load, 1)
    found = " | ".join(report["failures"])
    for words in (
        "gamma had 3",
        "beta had 2",
        "blocks or sequences",
        "p99 of /health",
        "after kill",
        "status 1",
    ):
        assert words in found


@pytest.mark.parametrize(
    ("manner", "sent", "took", "gone", "most"),
    [
        ("whole", (1.0, 2.0, 59.0), (1.1, 2.1, 60.9), (70, 70, 70), 3),
        ("whole", (1.0, 2.0, 59.0), (1.1, 2.1, 61.2), (70, 70, 70), 2),  # admitted after the minute, perhaps
        ("leave", (1.0, 2.0, 3.0), (1.1, 2.1, 3.1), (1.9, 2.9, 9.0), 1),  # never two at once
        ("whole", (1.0, 2.0, 3.0), (1.1, 2.1, 3.1), (9.0, 9.0, 9.0), 3),
    ],
)
def test_limits_are_judged_by_what_was_surely_so(manner, sent, took, gone, most):
    clients, entries = {}, []
    for number in range(3):
        name = f"cmpl-soak-{number} 0"
        clients[name] = seen(number, manner=manner, sent=sent[number], ended=gone[number])
        entries.append({"took": name, "tenant": "beta", "at": took[number]})
        entries.append({"ended": name, "reason": "abort", "at": gone[number] + 0.2})
    within = soak_checks._most_within((clients[e["took"]].sent, e["at"]) for e in entries if "took" in e)
    at_once = soak_checks._most_at_once(soak_checks._spans(entries, clients, "beta"))
    assert (at_once if max(sent) < 10 else within) == most


def test_an_abort_may_overtake_the_end():
    one = seen(1, manner="abort", finishes=(), errors=1, error_text="ended by a call of /abort")
    assert soak_checks._overtaken(one)
    assert not soak_checks._overtaken(seen(1, finishes=(), errors=1, error_text="ended by a call of /abort"))


def test_the_last_engine_is_the_last_in_time_whatever_its_number(tmp_path):
    (tmp_path / "engine-998.jsonl").write_text('{"took": "a 0", "tenant": "alpha", "at": 1.0}\n')
    (tmp_path / "engine-1002.jsonl").write_text('{"took": "b 0", "tenant": "alpha", "at": 2.0}\n')
    assert [life[0]["took"] for life in soak_checks.Books(tmp_path).lives] == ["a 0", "b 0"]
