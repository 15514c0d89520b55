"""Log lines: their two forms, and that a second set-up does not double them."""

import io
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from penstock.observe import setup_logging
from penstock.observe.logs import BackgroundHandler, SafeHandler


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
    setup_logging("info", "text", out)
    logging.getLogger("penstock.server").info("50%% of %s", "it", extra={"request_id": "100%s"})
    assert out.getvalue().rstrip().endswith("INFO server: 50% of it  request_id=100%s")


def test_level_and_repetition():
    out = io.StringIO()
    setup_logging("warning", "text", io.StringIO())
    setup_logging("warning", "text", out)
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert out.getvalue().count("\n") == 1 and "loud" in out.getvalue()


@pytest.mark.parametrize("background", [False, True])
def test_a_full_disk_costs_lines_and_nothing_else(background):
    """In a process of its own, whose standard error is the full disk from its start."""
    code = f"""
import logging
from penstock.observe import setup_logging
setup_logging("info", "json", background={background})
for number in range(3000):
    logging.getLogger("x").info("line %d", number)
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("x").exception("failed")
logging.getLogger().handlers[0].flush()
print("alive", flush=True)
"""
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", code], stderr=full, stdout=subprocess.PIPE, timeout=60)
    assert done.stdout == b"alive\n"


def test_a_pipe_that_nobody_reads_holds_up_nobody():
    reading, writing = os.pipe()
    sink = SafeHandler(os.fdopen(writing, "w"))
    handler = BackgroundHandler(sink, most=100)
    logger = logging.Logger("x")
    logger.addHandler(handler)
    for _ in range(1000):
        logger.info("x" * 1000)  # more than a pipe holds
    assert handler._dropped > 0
    lines = []

    def read():
        with os.fdopen(reading) as pipe:
            lines.extend(pipe)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    handler.flush()
    sink.stream.close()
    reader.join(10)
    assert any("log lines were dropped" in line for line in lines) and len(lines) > 100


def test_in_the_background_nothing_is_lost_and_exceptions_keep_their_text():
    out = io.StringIO()
    setup_logging("info", "json", out, background=True)
    for number in range(100):
        logging.getLogger("x").info("line %d", number, extra={"request_id": number})
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("x").exception("failed")
    logging.getLogger().handlers[0].flush()
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["request_id"] for line in lines[:100]] == list(range(100))
    assert "ValueError: no" in lines[100]["exception"]
