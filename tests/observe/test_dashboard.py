"""The dashboard asks for nothing that the server does not export, and can be laid out."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from penstock.observe.docs import example

BOARD = json.loads((Path(__file__).parents[2] / "ops/grafana/penstock.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="module")
def exported():
    """Labels of every sample that a scrape has, by its name."""
    labels = {}
    for metric in example().registry.collect():
        for sample in metric.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def test_every_metric_and_label_asked_for_is_exported(exported):
    asked = set()
    for query in QUERIES:
        for name, selector in re.findall(r"(penstock:\w+)\{([^}]*)\}", query):
            asked.add(name)
            assert name in exported, query
            assert set(re.findall(r"(\w+)=", selector)) <= exported[name], query
        names = re.findall(r"penstock:\w+", query)
        assert names, query
        for group in re.findall(r"by \(([^)]*)\)", query):
            for label in filter(None, re.split(r",\s*", group)):
                assert any(label in exported[name] for name in names), (label, query)
    assert len(asked) > 35


def test_variables_come_from_labels_that_exist(exported):
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(r"label_values\((\S+), (\w+)\)", variable["query"]["query"]).groups()
            assert label in exported[name]


def test_histograms_are_asked_by_bucket_and_counters_by_rate():
    for query in QUERIES:
        assert ("_bucket" in query) == ("histogram_quantile" in query), query
        for name in re.findall(r"penstock:\w+_total\b(?!_bucket)", query):
            assert re.search(rf"(rate|increase)\({re.escape(name)}\{{", query), query


def test_the_rows_that_operators_look_for():
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Traffic", "Latency", "Tenants", "KV cache", "Scheduler", "Faults"]


def test_panels_have_units_and_do_not_overlap():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["description"]
    boxes = [panel["gridPos"] for panel in BOARD["panels"]]
    for a, b in combinations(boxes, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
