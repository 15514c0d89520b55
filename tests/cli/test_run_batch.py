"""`penstock run-batch` on the bundled model: answered, interrupted, gone on with."""

import json

from penstock.cli.main import main

FEW = ["--max-num-seqs", "4", "--max-model-len", "256"]


def ask(custom_id, **body):
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body})


def test_a_file_is_answered_and_gone_on_with(tmp_path, capsys):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    short = {"max_tokens": 3, "temperature": 0, "ignore_eos": True}
    source.write_text(
        "\n".join([ask("a", prompt="One", **short), "{broken", ask("b", prompt="Two", **short)])
    )
    flags = ["run-batch", "-i", str(source), "-o", str(target), *FEW]
    assert main(flags) == 1  # a line was malformed
    assert "2 answered, 1 malformed; " in capsys.readouterr().err
    first = {one["custom_id"]: one for one in map(json.loads, target.read_text().splitlines())}
    assert first["a"]["response"]["body"]["usage"]["completion_tokens"] == 3
    assert first[None]["error"]["line"] == 2

    kept = [json.dumps(one) for one in first.values() if one["custom_id"] != "b"]
    target.write_text(
        "\n".join(kept) + '\n{"id": "batch_req_0", "custom_id": "b", "respo'
    )  # cut off by a crash
    assert main(flags) == 0
    assert "1 answered, 2 answered before" in capsys.readouterr().err
    again = {one["custom_id"]: one for one in map(json.loads, target.read_text().splitlines())}
    texts = [one["b"]["response"]["body"]["choices"][0]["text"] for one in (first, again)]
    assert texts[0] == texts[1] and len(again) == 3


def test_files_that_cannot_be_used(tmp_path, capsys):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    assert main(["run-batch", "-i", str(source), "-o", str(target)]) == 2
    assert "--input-file: cannot read" in capsys.readouterr().err
    source.write_text("{}\n")
    target.write_text("my diary\n")
    assert main(["run-batch", "-i", str(source), "-o", str(target)]) == 2
    assert "is not an answer of a batch" in capsys.readouterr().err
    assert target.read_text() == "my diary\n"
