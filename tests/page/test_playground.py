"""The playground in a browser: asking, stopping, settings, the request's text, errors, hostile answers."""

import json

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed").expect
CHAT = "**/v1/chat/completions"


def send(page, text="hi"):
    page.fill("#prompt", text)
    page.press("#prompt", "Control+Enter")


def done(page, count=1):
    expect(page.locator(".figures:not(:empty)")).to_have_count(count)


def chunk(**choice):
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": None, **choice}]}


def script(page, *chunks, status=200, headers=None):
    """Answer the next chats by these events instead of the server."""
    body = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + "data: [DONE]\n\n"
    kind = {"content-type": "text/event-stream"}
    page.route(CHAT, lambda route: route.fulfill(status=status, headers=headers or kind, body=body))


def sketch(page):
    page.click("#tab-request")
    return json.loads(page.text_content("#code"))


def test_an_answer_streams_in_with_its_figures(open_page, engine):
    page = open_page()
    expect(page.locator("#model")).to_contain_text("fake")
    page.fill("#prompt", "Say hello")
    page.press("#prompt", "Enter")
    done(page)
    assert page.text_content(".answered .said") == "Hello world"
    figures = dict(
        zip(
            page.locator(".figures dt").all_text_contents(),
            page.locator(".figures dd").all_text_contents(),
            strict=True,
        )
    )
    assert figures["Answer"] == "11 tokens" and figures["Cached"].startswith("2 ")
    assert (
        figures["End"] == "complete" and "tok/s" in figures["Pace"] and figures["First token"].endswith("s")
    )
    expect(page.locator("#spoken")).to_contain_text("Answer complete. 11 tokens.")
    assert page.locator("#prompt").evaluate("node => node === document.activeElement")
    send(page, "Again")
    done(page, 2)
    assert [turn["role"] for turn in engine.asked[-1][0].messages] == ["user", "assistant", "user"]


def test_settings_reach_the_engine_and_the_three_texts(open_page, engine):
    page = open_page()
    page.fill("#set-system", "Be brief.")
    for name, value in (("temperature", "0.5"), ("top_k", "20"), ("seed", "7"), ("max_tokens", "5")):
        page.fill(f"#set-{name}", value)
    page.fill("#set-tenant", "acme")
    page.fill("#prompt", 'He said "don\'t"')
    body = sketch(page)
    assert (
        body["temperature"] == 0.5
        and body["top_k"] == 20
        and body["tenant"] == "acme"
        and body["stream"] is True
    )
    assert body["messages"][0] == {"role": "system", "content": "Be brief."} and "top_p" not in body
    page.check("input[value=python]")
    source = page.text_content("#code")
    compile(source, "snippet", "exec")
    assert 'extra_body={"top_k": 20, "tenant": "acme"}' in source and "temperature=0.5" in source
    page.check("input[value=curl]")
    assert "don'\\''t" in page.text_content("#code")
    page.focus("#prompt")
    page.keyboard.press("Control+Enter")
    done(page)
    assert page.text_content(".answered .said") == "Hello"
    prompt, params, options = engine.asked[-1]
    assert params["temperature"] == 0.5 and params["seed"] == 7 and params["top_k"] == 20
    assert options.tenant == "acme" and prompt.messages[1]["content"] == 'He said "don\'t"'
    expect(page.locator(".figures")).to_contain_text("cut at the limit")


def test_the_curl_text_is_what_a_shell_takes(open_page, url):
    import shlex

    page = open_page()
    page.fill("#prompt", "a 'quoted' \"text\"\nin $two `lines`")
    page.click("#tab-request")
    page.check("input[value=curl]")
    words = shlex.split(page.text_content("#code").replace("\\\n", " "))
    assert words[:3] == ["curl", "-N", f"{url}v1/chat/completions"]
    body = json.loads(words[words.index("-d") + 1])
    assert body["messages"][-1]["content"] == "a 'quoted' \"text\"\nin $two `lines`"


def test_a_value_out_of_range_is_said_and_not_sent(open_page, engine):
    page = open_page()
    page.fill("#set-top_p", "7")
    expect(page.locator("#set-top_p-problem")).to_have_text("This must be at most 1.")
    expect(page.locator("#set-top_p")).to_have_attribute("aria-invalid", "true")
    send(page)
    expect(page.locator(".turn")).to_have_count(0)
    page.click("#reset")
    expect(page.locator("#set-top_p-problem")).to_be_hidden()
    send(page)
    done(page)


def test_stopping_keeps_what_came_and_ends_it_in_the_engine(open_page, engine):
    engine.text, engine.stride, engine.delay = "word " * 2000, 5, 0.02
    before = len(engine.cancelled)
    page = open_page()
    send(page)
    expect(page.locator(".answered .said")).to_contain_text("word word")
    expect(page.locator("#stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".figures")).to_contain_text("stopped by you")
    expect(page.locator("#send")).to_be_visible()
    assert page.text_content(".answered .said").startswith("word word")
    page.wait_for_timeout(150)
    assert len(engine.cancelled) == before + 1 and not engine.running


def test_edit_retry_and_clear(open_page, engine):
    page = open_page()
    send(page, "first")
    done(page)
    send(page, "second")
    done(page, 2)
    page.get_by_role("button", name="Answer this message again").last.click()
    done(page, 2)
    assert [turn["content"] for turn in engine.asked[-1][0].messages] == ["first", "Hello world", "second"]
    page.press("#prompt", "ArrowUp")
    box = page.get_by_label("Edit the message")
    expect(box).to_be_focused()
    box.fill("changed")
    box.press("Control+Enter")
    expect(page.locator(".asked .said").last).to_have_text("changed")
    done(page, 2)
    assert [turn["content"] for turn in engine.asked[-1][0].messages] == ["first", "Hello world", "changed"]
    page.click("#clear")
    expect(page.locator(".turn")).to_have_count(0)
    expect(page.locator("#empty")).to_be_visible()


def test_several_answers_and_going_on_with_one(open_page, engine):
    page = open_page()
    page.fill("#set-n", "2")
    send(page)
    done(page)
    expect(page.locator(".candidate")).to_have_count(2)
    page.get_by_label("Answer 2: go on with this one").check()
    page.fill("#set-n", "")
    send(page, "more")
    done(page, 2)


def test_tokens_are_coloured_and_explained_by_keyboard(open_page):
    page = open_page()
    page.click("summary:has-text('Output')")
    page.check("#set-logprobs")
    send(page)
    done(page)
    expect(page.locator(".tokens span")).to_have_count(11)
    page.focus(".tokens")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token-note")).to_contain_text("“e” 60.7 %, else: “f” 22.3 %")


def test_answers_are_text_whatever_they_hold(open_page):
    page = open_page()
    evil = (
        "# Title\n\n<img src=x onerror=alert(1)> <script>document.title='x'</script>\n\n"
        "[bad](javascript:alert(1)) [good](https://example.org/a) **bold** `code`\n\n"
        "- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```js\nlet a = '<b>';\n```"
    )
    script(page, chunk(delta={"role": "assistant", "content": evil}), chunk(finish_reason="stop"))
    send(page)
    done(page)
    said = page.locator(".answered .said")
    expect(said.locator("img, script, b")).to_have_count(0)
    assert said.locator("a").evaluate_all("nodes => nodes.map(node => node.href)") == [
        "https://example.org/a"
    ]
    assert said.locator("a").get_attribute("rel") == "noopener noreferrer nofollow"
    expect(said).to_contain_text("<img src=x onerror=alert(1)>")
    expect(said.locator("strong")).to_have_text("bold")
    expect(said.get_by_role("heading", name="Title")).to_be_visible()
    expect(said.locator("li")).to_have_count(2)
    expect(said.locator("td")).to_have_text(["1", "2"])
    expect(said.locator("pre")).to_have_text("let a = '<b>';")


def test_reasoning_is_folded_and_calls_become_cards(open_page):
    page = open_page()
    calls = [
        {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "get_weather", "arguments": '{"ci'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ty": "Bern"}'}}]},
    ]
    thought = chunk(delta={"reasoning_content": "The user wants weather."})
    script(page, thought, *(chunk(delta=one) for one in calls), chunk(finish_reason="tool_calls"))
    send(page)
    done(page)
    expect(page.locator(".thinking p")).to_be_hidden()
    page.click(".thinking summary")
    expect(page.locator(".thinking p")).to_have_text("The user wants weather.")
    expect(page.locator(".call pre")).to_have_text('{\n  "city": "Bern"\n}')
    page.fill(".reply textarea", '{"sky": "clear"}')
    page.click("text=Send the result")
    done(page, 2)
    roles = [message["role"] for message in sketch(page)["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant"]
    assert sketch(page)["messages"][2] == {
        "role": "tool",
        "tool_call_id": "c1",
        "content": '{"sky": "clear"}',
    }


@pytest.mark.parametrize(
    ("format_", "form", "expected"),
    [
        ("regex", "[a-z]+", {"structured_outputs": {"regex": "[a-z]+"}}),
        ("choice", "yes\nno", {"structured_outputs": {"choice": ["yes", "no"]}}),
        ("json_object", None, {"response_format": {"type": "json_object"}}),
    ],
)
def test_forms_of_an_answer(open_page, format_, form, expected):
    page = open_page()
    page.click("summary:has-text('Output')")
    page.select_option("#set-format", format_)
    if form:
        page.fill("#set-form", form)
    assert sketch(page).items() >= expected.items()


def test_a_broken_schema_is_said(open_page):
    page = open_page()
    page.click("summary:has-text('Output')")
    page.select_option("#set-format", "json_schema")
    page.fill("#set-form", '{"type": ')
    expect(page.locator("#set-form-problem")).to_contain_text("not valid JSON yet")


def test_errors_are_in_plain_words(open_page, engine):
    from penstock.core.errors import InvalidRequest, Overloaded

    page = open_page()
    engine.refusal = Overloaded("the queue is full", 7.0)
    send(page)
    expect(page.locator(".trouble").last).to_contain_text("the queue is full")
    expect(page.locator(".trouble").last).to_contain_text("Try again in about 7 s.")
    engine.refusal = InvalidRequest("temperature", "must be lower for this model")
    send(page)
    expect(page.locator(".trouble").last).to_contain_text("must be lower for this model")
    expect(page.locator("#set-temperature")).to_have_attribute("aria-invalid", "true")
    page.route(CHAT, lambda route: route.abort())
    send(page)
    expect(page.locator(".trouble").last).to_contain_text("The server did not answer.")
    page.unroute(CHAT)
    script(
        page,
        chunk(delta={"content": "half"}),
        {"error": {"message": "The engine died.", "code": "engine_dead"}},
    )
    send(page)
    expect(page.locator(".trouble").last).to_contain_text("The engine died.")
    expect(page.locator(".answered .said").last).to_have_text("half")


def test_on_a_phone_the_settings_are_a_sheet(open_page):
    page = open_page(width=360, height=700, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    expect(page.locator("#panel")).to_be_hidden()
    page.click("#open-panel")
    expect(page.locator("#close-panel")).to_be_focused()
    page.fill("#set-temperature", "0.3")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#open-panel")).to_be_focused()
    assert sketch_value(page) == 0.3


def sketch_value(page):
    return json.loads(page.locator("#code").text_content())["temperature"]


def test_the_keyboard_alone_is_enough(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.focus("#tab-settings")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-request")).to_be_focused()
    expect(page.locator("#request")).to_be_visible()
    page.keyboard.press("Home")
    expect(page.locator("#settings")).to_be_visible()


def test_the_theme_can_be_chosen_and_is_kept(open_page):
    page = open_page(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.click("#theme")
    page.click("#theme")
    expect(page.locator("#theme")).to_have_attribute("aria-label", "Theme: dark")
    assert page.evaluate(background) != light
    page.reload()
    assert page.evaluate(background) != light
