"""The page of metrics is up to date, and no metric lacks unit or meaning."""

from pathlib import Path

import pytest

from penstock.observe.docs import example, rewrite, rows, unit

PAGE = Path(__file__).parents[2] / "docs/observability.md"


def test_committed_page_is_up_to_date():
    text = PAGE.read_text(encoding="utf-8")
    assert rewrite(text) == text, "run: python -m penstock.observe.docs docs/observability.md"


def test_every_metric_has_samples_a_meaning_and_a_unit():
    for metric in example().registry.collect():
        assert metric.samples and metric.documentation
    for row in rows():
        _, name, kind, of, _, _, meaning, _ = row.split("|")
        assert name.strip() and kind.strip() and of.strip() and meaning.strip()


def test_what_has_no_unit_is_refused():
    with pytest.raises(ValueError, match="unit of frobs"):
        unit("frobs")


def test_settings_and_attributes_named_in_the_page_exist():
    import re

    from penstock.config.fields import all_fields
    from penstock.observe import tracing

    text, source = PAGE.read_text(encoding="utf-8"), Path(tracing.__file__).read_text(encoding="utf-8")
    flags = {"--" + field.name.replace("_", "-") for field in all_fields()}
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= flags | {"--chrome-trace"}
    for attribute in re.findall(r"`(gen_ai\.[a-z_.]+)`", text):
        assert attribute.rsplit(".", 1)[1] in source, attribute
