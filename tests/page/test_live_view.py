"""The live view in a browser: figures and charts of scripted events, the real stream, its loss and return."""

import itertools
import json

import pytest

from tests.page.states import state, states
from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").expect
EVENTS = "**/live/events"


def play(page, told):
    """Answer the stream of events by these, then end it."""
    body = "".join(f"data: {json.dumps(one)}\n\n" for one in told)
    page.route(EVENTS, lambda route: route.fulfill(content_type="text/event-stream", body=body))


def opened(open_page, told, **options):
    page = open_page(**options)
    play(page, told)
    page.goto(page.url + "#/live")
    expect(page.locator("#panels")).to_contain_text("order")
    return page


def tile(page, name):
    return page.locator(".tile", has=page.get_by_text(name, exact=True)).locator("dd").first


def test_figures_have_units_and_come_from_the_events(open_page):
    page = opened(open_page, states(20))
    assert tile(page, "Running").text_content() == "6" and tile(page, "Waiting").text_content() == "5"
    assert tile(page, "KV memory").text_content() == "50 %"
    assert tile(page, "Prefix hits").text_content() == "75 %"
    assert tile(page, "First token").text_content() == "120 ms"
    expect(page.locator("#tiles")).to_contain_text("tokens per second")
    assert page.locator(".tenants tbody th").all_text_contents() == ["<b>odd</b>", "acme", "zeta"]
    assert page.locator(".tenants tbody td:nth-child(2)").all_text_contents() == ["0", "4", "2"]
    expect(page.locator("#panels")).to_contain_text("stop 40, length 2")


def test_charts_are_read_by_arrow_keys(open_page):
    page = opened(open_page, states(20))
    chart = page.get_by_role("slider", name="Throughput: point in time")
    expect(chart).to_have_attribute(
        "aria-valuetext", "now: generated 119 tok/s, prompt, computed 50 tok/s, prompt, from cache 150 tok/s"
    )
    chart.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute(
        "aria-valuetext",
        "2 s ago: generated 117 tok/s, prompt, computed 50 tok/s, prompt, from cache 150 tok/s",
    )
    steps = page.get_by_role("slider", name="Steps: one of the last")
    expect(steps).to_have_attribute(
        "aria-valuetext", "step 19: 0 prefill + 6 decode tokens of 6 sequences in 20 ms"
    )
    steps.focus()
    page.keyboard.press("Home")
    expect(steps).to_have_attribute(
        "aria-valuetext", "step 0: 32 prefill + 6 decode tokens of 6 sequences in 20 ms"
    )


def test_every_chart_has_its_table(open_page):
    page = opened(open_page, states(25))
    charts = page.get_by_role("slider")
    assert charts.count() == page.locator(".as-table").count() == 6
    for summary in page.locator(".as-table summary").all():
        summary.click()
    table = page.get_by_role("table", name="KV blocks by state", exact=True)
    assert table.locator("thead th").all_text_contents()[:2] == ["Seconds ago", "in use, blocks"]
    assert table.locator("tbody tr").first.locator("td").all_text_contents() == ["48", "2", "30", "20"]
    assert table.locator("tbody th").all_text_contents() == ["0", "10", "20"]


def test_lines_follow_the_values(open_page):
    page = opened(open_page, states(20))
    path = page.locator(".card:has(#rate-title) path.line.c0").last.get_attribute("d")
    points = [tuple(map(float, point.split())) for point in path[1:].split("L")]
    assert len(points) == 20 and all(a[0] < b[0] and a[1] > b[1] for a, b in itertools.pairwise(points))


def test_a_dead_engine_is_said(open_page):
    page = opened(open_page, [state(0), state(1, status="dead", cause="killed", engine=None)])
    assert tile(page, "Engine").text_content() == "dead"
    assert tile(page, "Running").text_content() == "–"
    expect(page.locator("#alarm")).to_have_text("The engine is dead: killed")


def test_the_real_stream_is_shown_and_found_again(open_page):
    engine = FakeEngine()
    with serving(engine, CONFIG) as (port, _, _):
        page = open_page("#/live", url=f"http://127.0.0.1:{port}/")
        expect(page.locator("#panels")).to_contain_text("default")
        expect(page.locator("#lost")).to_be_hidden()
        page.route(EVENTS, lambda route: route.abort())
        page.click("#nav-playground")
        page.click("#nav-live")
        expect(page.locator("#lost")).to_contain_text("Connection lost. What is shown is old.")
        page.unroute(EVENTS)
        page.click("text=Try now")
        expect(page.locator("#lost")).to_be_hidden()
        expect(page.locator("#live")).not_to_have_class("live stale")


def test_it_comes_back_by_itself(open_page):
    page = opened(open_page, states(3))
    expect(page.locator("#lost")).to_contain_text("Connection lost")
    page.unroute(EVENTS)
    expect(page.locator("#lost")).to_be_hidden()


def test_a_key_is_asked_for_and_used(open_page):
    import msgspec

    locked = msgspec.structs.replace(
        CONFIG, server=msgspec.structs.replace(CONFIG.server, api_key=("secret",))
    )
    with serving(FakeEngine(), locked) as (port, _, _):
        page = open_page("#/live", url=f"http://127.0.0.1:{port}/")
        page.click("text=Enter a key")
        expect(page.locator("#set-key")).to_be_focused()
        page.keyboard.type("secret")
        page.keyboard.press("Enter")
        expect(page.locator("#model")).to_contain_text("fake")
        assert "secret" not in page.text_content("#code") and page.evaluate("localStorage.length") == 0
        page.click("#nav-live")
        expect(page.locator("#panels")).to_contain_text("default")


def test_pausing_holds_the_picture(open_page):
    page = opened(open_page, states(3))
    page.click("#pause")
    expect(page.locator("#pause")).to_have_attribute("aria-pressed", "true")
    play(page, [state(50, running=77)])
    page.wait_for_timeout(900)
    assert tile(page, "Running").text_content() == "6"
    page.click("#pause")
    expect(tile(page, "Running")).to_have_text("77")


def test_nothing_is_wider_than_a_phone(open_page):
    page = opened(open_page, states(20), width=360, height=700, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('main').scrollWidth") <= 360
