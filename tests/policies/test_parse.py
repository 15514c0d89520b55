"""Policy strings: what they build, and how they are refused."""

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import penstock
from penstock.core.errors import ConfigError
from penstock.policies import registry
from penstock.policies.order.combine import Aged, Lexicographic
from penstock.policies.parse import parse_policy
from penstock.policies.registry import names, register
from penstock.testing.conformance import population


def test_names_of_every_slot():
    assert {"fcfs", "priority", "aged", "per-tenant"} <= set(names("order"))
    assert {"chunked", "prefill-first"} <= set(names("shape"))
    assert {"newest", "least-loss"} <= set(names("preempt"))
    assert {"lru"} <= set(names("evict"))
    assert {"unlimited", "queue-bound"} <= set(names("admit"))


def test_lexicographic_and_nesting():
    order = parse_policy("order", "aged(priority > fcfs, 500ms) > fcfs")
    assert isinstance(order, Lexicographic) and isinstance(order._parts[0], Aged)
    assert order._parts[0]._horizon == 0.5
    assert not order.static


def test_priority_then_arrival():
    order = parse_policy("order", "priority > fcfs")
    ranked = list(order.rank(population(30), 0.0))
    keys = [(s.spec.priority, s.arrival) for s in ranked]
    assert keys == sorted(keys) and order.static


def test_aged_promotes_by_arrival():
    order = parse_policy("order", "aged(priority, 3s)")
    ranked = list(order.rank(population(30), 8.0))
    old = [s for s in ranked if 8.0 - s.arrival > 3.0]
    assert ranked[: len(old)] == sorted(old, key=lambda s: s.arrival)
    assert [s.spec.priority for s in ranked[len(old) :]] == sorted(
        s.spec.priority for s in ranked[len(old) :]
    )


def waiting_order(text, seqs, now=0.0):
    index = parse_policy("order", text).index()
    for seq in seqs:
        index.add(seq)
    ranked = []
    while (seq := next(index.candidates(now), None)) is not None:
        index.remove(seq)
        ranked.append(seq)
    return ranked


def test_an_index_nests_as_the_keys_do():
    seqs = population(40)
    joined = waiting_order("priority > fcfs", seqs)
    assert joined == sorted(seqs, key=lambda s: (s.spec.priority, s.arrival, s.number))
    nested = waiting_order("priority > per-tenant(fcfs)", seqs)
    assert [s.spec.priority for s in nested] == [s.spec.priority for s in joined]
    assert nested != joined
    aged = waiting_order("aged(priority > fcfs, 3s)", seqs, now=8.0)
    old = [s for s in aged if s.arrival < 5.0]
    assert aged[: len(old)] == sorted(old, key=lambda s: s.arrival)


def test_per_tenant_takes_turns():
    ranked = waiting_order("per-tenant(fcfs)", population(30))
    tenants = {s.spec.tenant for s in ranked}
    assert {s.spec.tenant for s in ranked[: len(tenants)]} == tenants


@pytest.mark.parametrize(
    ("slot", "text", "says"),
    [
        ("order", "fifo", "unknown policy 'fifo'; there are: aged, "),
        ("order", "", "expected a policy name"),
        ("order", "fcfs >", "expected a policy name"),
        ("order", "fcfs fcfs", "unexpected 'fcfs'"),
        ("order", "aged(fcfs", "expected"),
        ("order", "aged(fcfs)", "horizon"),
        ("order", "aged(fcfs, 0s)", "positive"),
        ("order", "fcfs!", "unexpected '!'"),
        ("order", "per-tenant(3)", "per-tenant needs an order"),
        ("shape", "chunked > prefill-first", "combines orders"),
        ("shape", "chunked(fcfs)", "unknown policy 'fcfs'"),
        ("admit", "queue-bound", "limit"),
        ("admit", "queue-bound(0)", "at least 1"),
    ],
)
def test_refusals_name_the_slot_and_the_reason(slot, text, says):
    with pytest.raises(ConfigError) as caught:
        parse_policy(slot, text)
    assert caught.value.field == f"schedule.{slot}"
    assert says in caught.value.message


def test_names_are_unique():
    with pytest.raises(ValueError, match="registered already"):
        register("order", "fcfs")(object)


def test_newcomer_adds_an_order_with_one_file(tmp_path):
    """A file dropped into the slot's folder is found, selected by name and runs; nothing else changes."""
    code = """
        from penstock.policies.parse import parse_policy
        from penstock.testing.conformance import check_order
        check_order(lambda: parse_policy("order", "toy > fcfs"))
        print(type(parse_policy("order", "toy")).__name__)
        """
    toy = """
        from penstock.policies.order.base import KeyOrder
        from penstock.policies.registry import register

        @register("order", "toy")
        class ShortestPrompt(KeyOrder):
            def key(self, seq, now):
                return seq.prompt_length
        """
    package = Path(penstock.__file__).parent
    shutil.copytree(package, tmp_path / "penstock", ignore=shutil.ignore_patterns("zoo", "__pycache__"))
    (tmp_path / "penstock/policies/order/toy.py").write_text(textwrap.dedent(toy))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.stdout.strip() == "ShortestPrompt", done.stderr


def test_other_packages_register_through_the_entry_point_group(monkeypatch):
    class Entry:
        def load(self):
            register("order", "from-afar")(type("FromAfar", (type(parse_policy("order", "fcfs")),), {}))

    def entry_points(*, group):
        assert group == "penstock.policies"
        return [Entry()]

    monkeypatch.setattr(registry, "_loaded_plugins", False)
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert "from-afar" in names("order")
    assert type(parse_policy("order", "priority > from-afar")._parts[1]).__name__ == "FromAfar"


def test_options_are_given_by_name():
    @register("admit", "named-for-test")
    class Named:
        def __init__(self, limit, mode="calm", wait=1.0):
            self.given = (limit, mode, wait)

    try:
        assert parse_policy("admit", "named-for-test(3, mode=wild, wait=20s)").given == (3, "wild", 20.0)
        for bad in ("(3, mode=wild, 4)", "(3, mode=a, mode=b)", "(3, 4=a)", "(3, other=1)", "(3, mode=)"):
            with pytest.raises(ConfigError):
                parse_policy("admit", "named-for-test" + bad)
    finally:
        del registry._FACTORIES["admit", "named-for-test"]
    assert parse_policy("order", "aged(inner=priority, horizon=3s)")._horizon == 3.0
