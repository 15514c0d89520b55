"""Tools and calls in chat templates, those that know them and those that do not."""

import json

import pytest

from penstock.core.errors import InvalidRequest
from penstock.frontend.answers.build import make_reader
from penstock.frontend.prompts import Chat
from penstock.frontend.text.chat import render
from tests.frontend.answers.reading import TOOLS, plain

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
ROUND = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    {"role": "tool", "tool_call_id": "call_2", "content": "43"},
]


class Jinja:
    """Renders as transformers does, without a tokenizer around it."""

    def __init__(self, template):
        self.chat_template = template

    def apply_chat_template(self, messages, *, tools, chat_template, tokenize, **kwargs):
        from transformers.utils.chat_template_utils import render_jinja_template

        kwargs.pop("continue_final_message", None)
        return render_jinja_template([messages], tools=tools, chat_template=self.chat_template, **kwargs)[0][
            0
        ]


PLAIN = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
KNOWING = (
    "{{ tools | tojson if tools }}{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ ARGS }}){% endfor %}{% endfor %}"
)


def rendered(template, messages=ROUND, tools=TOOLS, **kwargs):
    return render(Jinja(template), Chat(messages=messages, tools=tools, **kwargs), None)


def test_a_template_that_knows_tools_gets_them_and_arguments_as_objects():
    text = rendered(KNOWING.replace("ARGS", "c.function.arguments['a'] + 1"))
    assert text.startswith('[{"type": "function"') and "f(2)" in text and "<tool_call>" not in text


def test_a_template_that_pastes_arguments_gets_text():
    template = KNOWING.replace("ARGS", "'args: ' + c.function.arguments")
    assert 'f(args: {"a": 1})' in rendered(template)


def test_results_are_told_with_the_name_of_their_tool():
    text = rendered("{{ tools }}{% for m in messages %}{{ m.role }}:{{ m.name }} {% endfor %}")
    assert text.endswith("user: assistant: tool:f tool: ")


def test_a_template_without_tools_is_told_in_text():
    text = rendered(PLAIN)
    assert text.startswith("<system># Tools") and json.dumps(TOOLS[0]) in text
    assert '<assistant><tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>' in text
    assert "<user><tool_response>\n42\n</tool_response>\n<tool_response>\n43\n</tool_response>" in text
    assert "<tool>" not in text


def test_what_is_told_is_what_the_parser_reads():
    reader = make_reader("hermes", "none", tools=TOOLS, in_reasoning=False)
    told = rendered(PLAIN).split("<assistant>")[1].split("<user>")[0]
    assert plain(reader.push(told) + reader.finish()) == ("", "", [("f", '{"a": 1}')])


def test_an_own_system_message_stays_and_an_own_tool_role_too():
    messages = [{"role": "system", "content": "Be brief."}, *ROUND]
    text = rendered(PLAIN + "{# 'tool' #}", messages)
    assert text.startswith("<system>Be brief.\n\n# Tools") and "<tool>42<tool>43" in text


def test_a_template_without_a_system_role_is_told_in_the_first_message():
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
    assert rendered(strict).startswith("<user># Tools")


def test_a_developer_is_the_system_unless_the_template_knows_better():
    messages = [{"role": "developer", "content": "x"}]
    assert rendered(PLAIN, messages, None) == "<system>x"
    assert rendered(PLAIN + "{# developer #}", messages, None) == "<developer>x"


def test_a_refusal_names_the_first_cause():
    with pytest.raises(InvalidRequest, match="not today"):
        rendered("{{ raise_exception('not today') }}")


def test_the_bundled_template_takes_a_round_of_tools():
    from penstock.frontend.text.tokenizer import Tokenizer
    from penstock.zoo import bundled_model_path

    text = Tokenizer.load(str(bundled_model_path())).render_chat(Chat(messages=ROUND, tools=TOOLS))
    assert '<|system|>You can call these tools:\n{"name": ' in text and "# Tools" not in text
    assert '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>' in text and "42" in text
    assert text.endswith("<|assistant|>")
