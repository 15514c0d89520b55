"""Reading a text in pieces, and what comes of it without the ids, which are drawn."""

from penstock.frontend.answers.build import make_reader
from penstock.frontend.answers.events import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from penstock.frontend.answers.markup import joined

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("get_weather", "f", "search.web")
]
TOOLS[1]["function"]["parameters"]["properties"] = {"city": {"type": "string"}, "n": {"type": "object"}}


def read(pieces, parser, reasoning="none", in_reasoning=False, tools=TOOLS):
    """Return the joined events, and check that they come in a sensible order."""
    reader = make_reader(parser, reasoning, tools=tools, in_reasoning=in_reasoning)
    events = [event for piece in pieces for event in reader.push(piece)] + reader.finish()
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("ToolCallStart") == kinds.count("ToolCallEnd")
    assert all(event.text for event in events if isinstance(event, TextDelta | ToolCallArguments))
    return joined(events)


def plain(events):
    """Return (reasoning, text, [(name, arguments)]): what a client that does not stream sees."""
    reasoning, text, calls = "", "", []
    for event in events:
        if isinstance(event, ReasoningDelta):
            reasoning += event.text
        elif isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, ToolCallStart):
            assert event.call == len(calls) and event.id
            calls.append([event.name, ""])
        elif isinstance(event, ToolCallArguments):
            assert event.call == len(calls) - 1
            calls[event.call][1] += event.text
    return reasoning, text, [tuple(call) for call in calls]


def nameless(events):
    """Return the events with their drawn ids blanked."""
    return [
        ToolCallStart(event.call, "", event.name) if isinstance(event, ToolCallStart) else event
        for event in events
    ]
