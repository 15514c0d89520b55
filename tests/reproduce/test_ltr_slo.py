"""The quick modes of the rows that take seconds run and show the direction."""

from penstock.reproduce.base import load_all


def test_quick_runs_show_the_direction():
    experiments = load_all()
    checked = experiments["ltr-check"].run(0, True)
    assert checked["violations"] == 0 < checked["violations_without_displacing"]
    found = experiments["priorities"].run(0, True)
    assert found["prefill"] > 1 and found["e2e"] > 1
    for name in ("ltr-queue", "ltr-first", "ltr-train", "ltr-real", "slo-goodput"):
        assert experiments[name].bars
