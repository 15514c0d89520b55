"""Statistics, limits, the bars and the tables, on made-up engines; the order of rounds."""

import json

import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers.bars import BARS, judge
from benchmarks.peers.engines import PEERS, Variant
from benchmarks.peers.figures import Spread, WrongAnswer, check, run_figures, spread, summarise
from benchmarks.peers.limits import Machine, decode_bytes, floor_seconds, prefill_operations, shares
from benchmarks.peers.models import SHAPES, Shape
from benchmarks.peers.plot import plot
from benchmarks.peers.report import bar_rows, markdown, whole_report, workload_rows
from benchmarks.peers.runner import Progress, Ready, run_all
from benchmarks.peers.workloads import WORKLOADS, build

TWO = {"requests": [{"prompt": [1, 2, 3], "output": 3}, {"prompt": [4], "output": 2}], "waves": [[0, 1]]}


def answers(*times):
    return [{"sent": 0.5, "tokens": len(one), "times": list(one)} for one in times]


def test_figures_of_a_run():
    figures = run_figures(TWO, answers((1.0, 2.0, 4.0), (1.5, 2.0)), 4.5)
    assert figures["total_tps"] == 2.0 and figures["output_tps"] == pytest.approx(5 / 4.5)
    assert figures["ttft"] == 0.75 and figures["itl"] == 1.0
    assert figures["decode_tps"] is None, "only a single stream has a decode rate"
    alone = {"requests": TWO["requests"][:1]}
    assert run_figures(alone, answers((1.0, 2.0, 4.0)), 4.5)["decode_tps"] == pytest.approx(1 / 1.5)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (answers((1.0, 2.0, 3.0)), "1 answers to 2"),
        (answers((1.0, 2.0), (1.0, 2.0)), "request 0: 2 tokens, 3 were"),
        (answers((1.0, 3.0, 2.0), (1.0, 2.0)), "backwards"),
        (answers((0.1, 0.2, 0.3), (1.0, 2.0)), "backwards"),
        ([{"sent": 0, "tokens": 3, "times": [1, 2]}, *answers((1, 2))], "2 times for 3"),
        ([{"sent": 0, "tokens": 3, "times": []}, *answers((1, 2))], "0 times"),
    ],
)
def test_answers_that_are_not_what_was_asked_for_are_refused(wrong, reason):
    with pytest.raises(WrongAnswer, match=reason):
        check(TWO, wrong)


def test_spread_and_summary():
    assert spread([3.0, None, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert spread([None]) is None
    runs = [
        {"workload": "W1", "engine": "a", "figures": {"total_tps": value, "ttft": None}}
        for value in (1.0, 5.0)
    ]
    runs.append({"workload": "W1", "engine": "b", "figures": None})
    assert summarise(runs) == {"W1": {"a": {"total_tps": Spread(3.0, 1.0, 5.0, 2)}}}


def test_limits_counted_by_hand():
    shape = Shape(layers=1, hidden=2, intermediate=3, heads=2, kv_heads=1, head_dim=4, vocab=10)
    matrices = 2 * 8 + 2 * 4 * 2 + 8 * 2 + 3 * 2 * 3
    assert shape.layer_parameters == matrices and shape.kv_bytes_per_token == 16
    pairs = (1 + 2 + 3) + 1
    assert prefill_operations(shape, TWO) == 2 * matrices * 4 + 4 * 1 * 2 * 4 * pairs + 2 * 20 * 2
    # Two steps; the first request reads 4 then 5 cached tokens, the second 2.
    assert decode_bytes(shape, TWO, "bf16") == 2 * 2 * (matrices + 20) + (4 + 5 + 2) * 16
    machine = Machine(bandwidth=100.0, gemm=1000.0)
    expected = prefill_operations(shape, TWO) / 1000 + decode_bytes(shape, TWO, "bf16") / 100
    assert floor_seconds(shape, TWO, "bf16", machine) == pytest.approx(expected)


def test_limits_agree_with_the_record():
    # 481 GFLOP for the prompt of W1; 1.26 GB per token in bfloat16, 0.70 at 8 bits; floors of W2 and W3.
    small, one = SHAPES["S"], build(WORKLOADS["W1"])
    assert prefill_operations(small, one) / 1e9 == pytest.approx(481, rel=0.01)
    assert decode_bytes(small, one, "bf16") / 127 / 1e9 == pytest.approx(1.26, rel=0.01)
    assert decode_bytes(small, one, "int8") / 127 / 1e9 == pytest.approx(0.70, rel=0.01)
    machine = Machine(26e9, 2.12e12)
    assert floor_seconds(small, build(WORKLOADS["W2"]), "bf16", machine) == pytest.approx(18.4, rel=0.1)
    assert floor_seconds(small, build(WORKLOADS["W3"]), "bf16", machine) == pytest.approx(3.2, rel=0.1)


def test_shares_of_a_single_stream():
    one, machine = build(WORKLOADS["W1"]), Machine(26e9, 2.12e12)
    needed = decode_bytes(SHAPES["S"], one, "bf16") / 127
    figures = {"seconds": 100.0, "itl": 2 * needed / 26e9, "ttft": 1.0}
    found = shares(SHAPES["S"], one, "bf16", figures, machine)
    assert found["decode"] == pytest.approx(0.5) and found["prefill"] == pytest.approx(0.227, rel=0.01)
    assert set(shares(SHAPES["T"], build(WORKLOADS["W4"]), "bf16", figures, machine)) == {"whole"}


def made_up():
    """Return a summary in which every bar can be told, and the engines by label."""
    engines = {
        "penstock": ("penstock", "bf16"),
        "penstock-int8": ("penstock", "int8"),
        "vllm": ("vllm", "bf16"),
        "llamacpp": ("llamacpp", "bf16"),
        "llamacpp-int8": ("llamacpp", "int8"),
    }
    values = {
        "penstock": (40.0, 0.2, 2.0, 2**30),
        "penstock-int8": (60.0, 0.2, 2.0, 2**30),
        "vllm": (10.0, 0.6, 100.0, 8 * 2**30),
        "llamacpp": (20.0, 2.0, 1.0, 2 * 2**30),
        "llamacpp-int8": (50.0, 2.0, 1.0, 2**30),
    }
    names = ("decode_tps", "ttft", "start", "memory")
    figures = {
        label: {name: Spread(value, value, value, 1) for name, value in zip(names, row, strict=True)}
        | {"total_tps": Spread(10 * row[0], 9 * row[0], 11 * row[0], 3)}
        for label, row in values.items()
    }
    return {"W1": figures}, engines


def test_bars_compare_with_the_best_at_the_same_precision():
    summary, engines = made_up()
    verdicts = {verdict.bar.title: verdict for verdict in (judge(bar, summary, engines) for bar in BARS)}
    decode = verdicts["W1 single stream S, decode tokens/s"]
    assert (decode.best_engine, decode.ratio, decode.met) == ("llamacpp", 2.0, True)
    first = verdicts["W1 time to first token, 512 tokens"]
    assert first.best_engine == "vllm" and first.ratio == pytest.approx(3.0)
    eight = verdicts["int8 weights, W1 decode tokens/s"]
    assert (eight.best_engine, eight.met) == ("llamacpp-int8", False) and eight.ratio == pytest.approx(1.2)
    assert verdicts["int4 weights, W1 decode tokens/s"].met is None
    start = verdicts["start to ready, warm, S"]
    assert (start.best_engine, start.ratio, start.met) == ("llamacpp", 0.5, False)
    memory = next(one for title, one in verdicts.items() if title.startswith("resident memory"))
    assert (memory.best_engine, memory.ratio, memory.met) == ("llamacpp", 2.0, True)


def test_tables(tmp_path):
    summary, engines = made_up()
    of_limit = {"W1": {"penstock": {"whole": 0.7, "decode": 0.81}}}
    header, rows = workload_rows("W1", summary, of_limit["W1"])
    assert [row[0] for row in rows][:2] == [
        "penstock-int8",
        "llamacpp-int8",
    ] and "decode % of limit" in header
    ours = next(row for row in rows if row[0] == "penstock")
    assert ours[2] == "400 [360..440]" and ours[4] == "200" and ours[-2:] == ["70", "81"]
    header, rows = bar_rows(summary, engines, of_limit)
    assert len(rows) == len(BARS) + 1 and all(len(row) == len(header) for row in rows)
    assert rows[0][1:] == ["llamacpp 20", "40", "2.00", "1.30", "95 % of bandwidth", "yes"]
    assert rows[1][2] == "81 %" and rows[1][-1] == "yes"
    assert rows[3][1:4] == ["not measured", "-", "-"] and rows[3][-1] == "-"
    result = {
        "engines": {name: {"engine": one[0], "precision": one[1]} for name, one in engines.items()},
        "probe": {
            "bandwidth": {"median": 2e10, "min": 1e10, "max": 3e10},
            "gemm": {"median": 2e12},
            "instructions": "x",
        },
        "workloads": {"W1": {"title": "one stream"}},
        "shares": of_limit,
        "failures": [{"engine": "hf", "workload": "W2", "reason": "too slow"}],
    }
    text = whole_report(result, summary)
    assert (
        "20.0 GB/s [10.0..30.0]" in text and "- hf, W2: too slow" in text and markdown(header, rows) in text
    )
    plot(summary, {"W1": "one stream"}, tmp_path / "x.svg", "note")
    assert (tmp_path / "x.svg").read_text().count("penstock") >= 1


def test_rounds_are_interleaved_and_failures_not_repeated():
    engines = [
        Ready(Variant(PEERS[name], precision), "python", {})
        for name, precision in (("penstock", "bf16"), ("penstock", "int8"), ("vllm", "bf16"))
    ]
    seen, probed, said = [], [], []

    def cell(ready, workload, path, setup):
        seen.append((ready.variant.label, workload.name, path))
        if ready.variant.peer.name == "vllm":
            return {"engine": "vllm", "workload": workload.name, "figures": None, "reason": "no"}
        figures = {"total_tps": 1.0, "seconds": 1.0, "start": 1.0}
        return {"engine": ready.variant.label, "workload": workload.name, "figures": figures}

    def probe(threads):
        probed.append(threads)
        return {}

    chosen = [WORKLOADS["W1"], WORKLOADS["W4"]]
    paths = {(one.name, number): f"{one.name}-{number}" for one in chosen for number in range(2)}
    setup = type("Setup", (), {"threads": 3})()
    cells, probes = run_all(engines, chosen, paths, 2, setup, said.append, cell, probe)
    first = [
        ("penstock", "W1", "W1-0"),
        ("penstock-int8", "W1", "W1-0"),
        ("vllm", "W1", "W1-0"),
        ("penstock", "W4", "W4-0"),
        ("vllm", "W4", "W4-0"),
    ]
    second = [(label, name, f"{name}-1") for label, name, _ in first if label != "vllm"]
    assert seen == first + second and len(cells) == len(seen)
    assert probed == [3] * 4 and [one["workload"] for one in probes] == ["W1", "W4"] * 2
    assert sum("failed: no" in line for line in said) == 2 and any("[1/10]" in line for line in said)


def test_an_interrupted_run_keeps_what_it_has():
    def cell(ready, workload, path, setup):
        if path == "second":
            raise KeyboardInterrupt
        return {"engine": "penstock", "figures": {"total_tps": 1.0, "seconds": 1.0, "start": 1.0}}

    setup = type("Setup", (), {"threads": 1})()
    paths = {("W1", 0): "first", ("W1", 1): "second"}
    engines = [Ready(Variant(PEERS["penstock"]), "python", {})]
    cells, probes = run_all(
        engines, [WORKLOADS["W1"]], paths, 2, setup, lambda line: None, cell, lambda threads: {}
    )
    assert len(cells) == 1 and cells[0]["round"] == 0 and len(probes) == 2


def test_progress_learns_from_cells_of_the_same_kind():
    progress = Progress([("a", "W1"), ("b", "W1"), ("a", "W1"), ("b", "W1")], print)
    assert progress.expected() == 240
    progress.end(10)
    assert progress.expected() == 30
    progress.end(20)
    assert progress.expected() == 30
    progress.end(30)
    assert progress.expected() == 20


@pytest.mark.parametrize(
    "wrong",
    [
        ["--engines", "vlm"],
        ["--workloads", ""],
        ["--rounds", "0"],
        ["--python", "vllm"],
        ["--python", "vlm=/usr/bin/python3"],
        ["--set", "vllm.eager"],
        ["--set", "vllm.eager=yes"],
    ],
)
def test_flags_that_make_no_sense(wrong, capsys):
    with pytest.raises(SystemExit):
        command.parse(wrong)
    assert "expected" in capsys.readouterr().err or wrong[0] in ("--python", "--set")


def test_settings_reach_their_engine():
    args = command.parse(
        ["--set", "vllm.enforce_eager=true", "--set", "vllm.seed=3", "--python", "vllm=/x/y"]
    )
    assert args.extra == {"vllm": {"enforce_eager": True, "seed": 3}} and args.python == {"vllm": "/x/y"}
    assert json.dumps(args.extra)
