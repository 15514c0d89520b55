"""A scripted server and a headless Chromium; everything is skipped where there is no Chromium."""

import os
import shutil

import pytest

from tests.server.fakes import CONFIG, FakeEngine
from tests.server.live import serving

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)

PATIENCE = 20_000
"""Milliseconds to wait for what must come; only a failure, or a very busy machine, takes so long."""


@pytest.fixture(scope="module")
def browser():
    # Not for the session: while it lives, no other test of this process could run an event loop.
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(
            "no Chromium here: install one (Debian: apt install chromium) or set CHROMIUM to its path"
        )
    api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    api.expect.set_options(timeout=PATIENCE)
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def engine():
    return FakeEngine()


@pytest.fixture(scope="module")
def url(engine):
    with serving(engine, CONFIG) as (port, _, _):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(autouse=True)
def fresh(engine):
    """Undo what a test scripted; the server outlives it."""
    engine.text, engine.stride, engine.delay, engine.hold, engine.refusal = "Hello world", 3, 0.0, False, None
    engine.asked.clear()
    yield
    engine.hold = False


class Opener:
    """Opens pages and remembers what they complained of."""

    def __init__(self, browser, url):
        self.browser, self.url, self.contexts, self.complaints = browser, url, [], []

    def __call__(self, where="", width=1280, height=800, url=None, **options):
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(PATIENCE)
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._heard)
        page.goto((url or self.url) + where)
        return page

    def _heard(self, message):
        # The network's failures are part of the play; what the page's own code or policy says is not.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def open_page(browser, url):
    opener = Opener(browser, url)
    yield opener
    for context in opener.contexts:
        context.close()
    assert not opener.complaints
