"""Log lines: their two forms, and that a second set-up does not double them."""

import io
import json
import logging

import pytest

from penstock.observe import setup_logging


@pytest.fixture(autouse=True)
def keep_root():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_json_lines_carry_the_extras():
    out = io.StringIO()
    setup_logging("info", "json", out)
    logging.getLogger("penstock.server").info("answered %s", "x", extra={"request_id": "r1", "tokens": 5})
    line = json.loads(out.getvalue())
    assert line["message"] == "answered x" and line["request_id"] == "r1" and line["tokens"] == 5
    assert line["level"] == "info" and line["logger"] == "penstock.server" and line["time"] > 1e9


def test_json_holds_exceptions_on_one_line():
    out = io.StringIO()
    setup_logging("info", "json", out)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("x").exception("failed")
    (line,) = out.getvalue().splitlines()
    assert "ValueError: no" in json.loads(line)["exception"]


def test_human_lines_have_extras_at_the_end_and_percent_signs_survive():
    out = io.StringIO()
    setup_logging("info", "human", out)
    logging.getLogger("penstock.server").info("50%% of %s", "it", extra={"request_id": "100%s"})
    assert out.getvalue().rstrip().endswith("INFO server: 50% of it  request_id=100%s")


def test_level_and_repetition():
    out = io.StringIO()
    setup_logging("warning", "human", io.StringIO())
    setup_logging("warning", "human", out)
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert out.getvalue().count("\n") == 1 and "loud" in out.getvalue()
