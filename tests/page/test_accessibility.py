"""axe-core on both views, in both themes, on desktop and phone: no serious or critical violation."""

import pytest

from tests.page.states import states
from tests.page.test_live_view import opened
from tests.page.test_playground import chunk, done, script, send

axe_api = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 700, "has_touch": True, "is_mobile": True}
looks = pytest.mark.parametrize("look", [("light", DESKTOP), ("dark", DESKTOP), ("dark", PHONE)])


def check(page):
    found = axe_api.Axe().run(page).response["violations"]
    bad = [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['target'] for node in one['nodes']][:4]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert not bad, "\n".join(bad)


@looks
def test_playground(open_page, look):
    scheme, size = look
    page = open_page(color_scheme=scheme, **size)
    check(page)  # empty
    narrow = size is PHONE
    if narrow:
        page.click("#open-panel")
    for name in ("Penalties", "Output", "Tools"):
        page.click(f"summary:has-text('{name}')")
    page.check("#set-logprobs")
    page.fill("#set-top_p", "9")
    check(page)  # every section open, with something wrong
    page.click("#reset")
    page.check("#set-logprobs")
    if narrow:
        page.click("#close-panel")
    send(page)
    done(page)
    text = "# Head\n\n`code` [link](https://example.org)\n\n> said\n\n"
    text += "| a | b |\n|---|---|\n| 1 | 2 |\n\n```py\nx = 1\n```"
    call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    script(
        page,
        chunk(delta={"reasoning_content": "Hm."}),
        chunk(delta={"content": text}),
        chunk(delta=call),
        chunk(finish_reason="tool_calls"),
        {"error": {"message": "It broke."}},
    )
    page.evaluate("document.getElementById('set-logprobs').click()")
    send(page)
    done(page, 2)
    check(page)  # answers of every kind
    if narrow:
        page.click("#open-panel")
    page.click("#tab-request")
    check(page)


@looks
def test_live(open_page, look):
    scheme, size = look
    page = opened(open_page, states(20), color_scheme=scheme, **size)
    for summary in page.locator(".as-table summary").all():
        summary.click()
    check(page)


def test_live_with_reduced_motion_and_nothing_running(open_page):
    page = open_page("#/live", reduced_motion="reduce")
    page.wait_for_selector(".facts div")
    check(page)


def test_the_check_would_find_something(open_page):
    page = open_page()
    page.evaluate("document.getElementById('main').append(document.createElement('button'))")
    with pytest.raises(AssertionError, match="button-name"):
        check(page)
