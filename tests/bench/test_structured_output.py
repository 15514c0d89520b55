"""The benchmark of structured output, small: every answer that ends validates, and the figures are there."""

import importlib.util
from pathlib import Path

import pytest

from penstock.testing.schemas import SchemaGenerator

PATH = Path(__file__).parents[2] / "benchmarks" / "structured_output.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("structured_output", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_small_run(bench, tmp_path):
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    folder = bench.make_model(tmp_path, 600, 200_000, **small, num_key_value_heads=1)
    generator = SchemaGenerator(0, depth=1)
    schemas = [generator.schema() for _ in range(6)]
    found = bench.run(folder, "xgrammar", schemas, rounds=1, seqs=6, max_tokens=400)
    validity = found["validity"]
    assert validity["wrong"] == []
    assert validity["valid"] == validity["finished"] >= 4
    assert validity["finished"] + validity["cut_off_at_max_tokens"] == validity["answers"] == 6
    assert len(found["ratios"]) == 1
    assert 0 < found["fill_ms"]["p50"] <= found["fill_ms"]["p99"] <= found["fill_ms"]["max"]


def test_an_answer_that_does_not_validate_is_counted(bench):
    class Answer:
        finish_reason, token_ids, detail = "stop", (1,), ""

        def __init__(self, text):
            self.text = text

    class Output:
        def __init__(self, text):
            self.outputs = [Answer(text)]

    schema = {"type": "object", "properties": {"d": {"type": "string", "format": "date"}}}
    texts = ['{"d": "2020-01-01"}', '{"d": "today"}', '{"d": ', "[1]"]
    found = bench.check([schema] * 4, [Output(text) for text in texts])
    assert (found["finished"], found["valid"], len(found["wrong"])) == (4, 1, 3)
