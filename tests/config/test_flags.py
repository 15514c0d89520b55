"""Flags come from the settings: both spellings, switches, lists, aliases, help with units and ranges."""

import argparse
import re

import pytest

from penstock.config.fields import all_fields
from penstock.config.flags import ALIASES, HEADINGS, add_flags, config_from_args
from penstock.config.settings import Config
from penstock.core.errors import ConfigError


def parse(*arguments):
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return config_from_args(parser.parse_args(arguments))


def test_no_flags_are_the_defaults():
    assert parse() == Config()


@pytest.mark.parametrize("flag", ["--max-num-seqs", "--schedule.max-num-seqs", "--max-running-requests"])
def test_three_spellings(flag):
    assert parse(flag, "9").schedule.max_num_seqs == 9


def test_every_field_can_be_set_by_both_flags():
    samples = {int: "1", float: "0.5", str: "x"}
    for field in all_fields():
        for flag in (field.flag, f"--{field.section}.{field.flag[2:]}"):
            if field.base is bool:
                arguments, expected = [flag.replace("--", "--no-", 1)], False
            elif field.choices:
                arguments, expected = [flag, field.choices[-1]], field.choices[-1]
            elif field.repeated:
                arguments, expected = [flag, "x", flag, "y"], ("x", "y")
            else:
                low = re.match(r">= ([\de+]+)", field.limits)
                value = str(int(max(1, float(low[1])))) if low and field.base is int else samples[field.base]
                arguments, expected = [flag, value], field.base(value)
            config = parse(*arguments)
            assert getattr(getattr(config, field.section), field.name) == expected


@pytest.mark.parametrize(
    ("arguments", "section", "name", "value"),
    [
        (["--gpu-memory-utilization", "0.8"], "cache", "memory_fraction", 0.8),
        (["--mem-fraction-static", "0.8"], "cache", "memory_fraction", 0.8),
        (["--scheduling-policy", "priority"], "schedule", "order", "priority > fcfs"),
        (["--scheduling-policy", "fcfs"], "schedule", "order", "fcfs"),
        (["--max-num-queued-reqs", "5"], "schedule", "admit", "queue-bound(5)"),
        (["--max-num-queued-tokens", "9"], "schedule", "admit", "queue-bound(4096, tokens=9)"),
        (
            ["--max-num-queued-tokens", "9", "--max-num-queued-reqs", "5"],
            "schedule",
            "admit",
            "queue-bound(5, tokens=9)",
        ),
        (["--enable-chunked-prefill"], "schedule", "shape", "chunked"),
        (["--no-enable-chunked-prefill"], "schedule", "shape", "prefill-first"),
        (["--disable-radix-cache"], "cache", "enable_prefix_caching", False),
        (["--no-enable-prefix-caching"], "cache", "enable_prefix_caching", False),
        (["--enforce-eager"], "model", "cuda_graphs", False),
        (["--shutdown-timeout", "3"], "server", "drain_timeout", 3.0),
    ],
)
def test_familiar_names(arguments, section, name, value):
    assert getattr(getattr(parse(*arguments), section), name) == value


def test_flags_override_the_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('[schedule]\nmax_num_seqs = 3\norder = "fcfs"')
    config = parse("--config", str(path), "--max-num-seqs", "4")
    assert (config.schedule.max_num_seqs, config.schedule.order) == (4, "fcfs")


def test_errors_name_the_field():
    with pytest.raises(ConfigError, match=r"cache.memory_fraction: expected a number > 0 and <= 1, got '90'"):
        parse("--gpu-memory-utilization", "90")
    with pytest.raises(ConfigError, match=r"--max-num-queued-reqs: expected a whole number >= 1, got '-1'"):
        parse("--max-num-queued-reqs", "-1")
    with pytest.raises(ConfigError, match=r"--max-num-queued-tokens: bounds the admit policy queue-bound"):
        parse("--admit", "deadline", "--max-num-queued-tokens", "5")


def test_help_shows_range_unit_and_default():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    assert "Sequences running at once [>= 1 and <= 65536 sequences; default: 64]" in text
    assert "--gpu-memory-utilization" in text
    assert "The paged KV cache." in text


def test_alias_targets_and_headings_exist():
    names = {field.dotted for field in all_fields()}
    assert all(alias.target in names for alias in ALIASES) and set(HEADINGS) <= names


def test_help_says_sizes_in_words_and_breaks_long_lists_of_choices():
    parser = argparse.ArgumentParser()
    add_flags(parser)
    text = " ".join(parser.format_help().split())
    assert "default: 33554432 = 32 MiB]" in text and "default: 1073741824 = 1 GiB]" in text
    assert "--tool-call-parser NAME" in text and "One of auto, none, hermes, " in text
    assert "--max-num-queued-reqs VALUE sets that number in --admit" in text
