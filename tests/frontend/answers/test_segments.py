"""Stretches of an answer open, grow and close one after the other."""

from penstock.core.output import FinishReason
from penstock.frontend.answers.events import (
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from penstock.frontend.answers.reader_set import ReaderSet, Reading
from penstock.frontend.answers.segments import Closed, Grew, Opened, Segments
from penstock.frontend.outputs import CompletionOutput, TokenLogprob


class Script:
    """Gives prepared events, one list per delta."""

    def __init__(self, *deltas):
        self.deltas = list(deltas)

    def read(self, out):
        return self.deltas.pop(0) if self.deltas else []

    def reasoning_tokens(self):
        return None


def plain():
    return ReaderSet(Reading(), None)


def follow(reader, *texts, end=FinishReason.STOP, logprobs=False):
    segments, changes = Segments(reader), []
    for i, text in enumerate(texts):
        scores = (score(i),) if logprobs else None
        out = CompletionOutput(text=text, token_ids=(i,), logprobs=scores)
        if i == len(texts) - 1:
            out.finish_reason = end
        changes += segments.push(out)
    return segments, changes


def score(i):
    return TokenLogprob(token_id=i, token=str(i), bytes=b"", logprob=-1.0, rank=1, offset=i)


def shape(segments):
    return [(s.kind, s.text, s.complete) for s in segments.all]


def check_order(changes):
    """Every segment opens, grows, closes, in that order and never beside another."""
    now, seen = None, 0
    for change in changes:
        if isinstance(change, Opened):
            assert now is None and change.segment.index == seen
            now, seen = change.segment, seen + 1
        else:
            assert change.segment is now
            now = None if isinstance(change, Closed) else now
    assert now is None


def test_plain_text_is_one_segment():
    segments, changes = follow(plain(), "Hel", "lo")
    assert shape(segments) == [("text", "Hello", True)]
    assert [type(c) for c in changes] == [Opened, Grew, Grew, Closed]
    check_order(changes)


def test_reasoning_then_text_then_two_calls_without_the_blanks_between():
    reader = Script(
        [ReasoningDelta("hm")], [ReasoningDelta("m")], [TextDelta("\n\n")], [TextDelta("Sure.")],
        [TextDelta("\n"), ToolCallStart(0, "call_a", "f"), ToolCallArguments(0, "{")],
        [ToolCallArguments(0, "}"), ToolCallEnd(0), TextDelta("\n")],
        [ToolCallStart(1, "call_b", "g"), ToolCallArguments(1, "{}"), ToolCallEnd(1)],
    )  # fmt: skip
    segments, changes = follow(reader, *"1234567")
    assert shape(segments) == [
        ("reasoning", "hmm", True), ("text", "\n\nSure.\n", True), ("call", "{}", True), ("call", "{}", True),
    ]  # fmt: skip
    assert [(s.call_id, s.name) for s in segments.all[2:]] == [("call_a", "f"), ("call_b", "g")]
    assert segments.called and segments.reasoning_tokens == 0
    check_order(changes)


def test_blanks_only_are_still_an_answer():
    assert shape(follow(plain(), " ", "\n")[0]) == [("text", " \n", True)]
    assert shape(follow(plain(), "")[0]) == []


def test_what_is_cut_off_is_not_complete():
    assert shape(follow(plain(), "Hel", end=FinishReason.LENGTH)[0]) == [("text", "Hel", False)]
    for end in (FinishReason.STOP, FinishReason.LENGTH):
        open_call = Script([ToolCallStart(0, "c", "f"), ToolCallArguments(0, '{"a')])
        segments, changes = follow(open_call, "x", end=end)
        assert shape(segments) == [("call", '{"a', False)]
        check_order(changes)


def test_a_call_that_the_reader_closes_at_the_limit_is_complete_if_its_arguments_are():
    for text, complete in (('{"a": 1', False), ('{"a": 1}', True)):
        call = Script([ToolCallStart(0, "c", "f"), ToolCallArguments(0, text), ToolCallEnd(0)])
        assert shape(follow(call, "x", end=FinishReason.LENGTH)[0]) == [("call", text, complete)]


def test_scores_go_to_what_their_tokens_became():
    reader = Script([], [ReasoningDelta("r")], [], [TextDelta("t")], [TextDelta("u")])
    segments, changes = follow(reader, *"abcde", logprobs=True)
    assert [[p.token_id for p in s.logprobs] for s in segments.all] == [[0, 1], [2, 3, 4]]
    assert [[p.token_id for p in c.logprobs] for c in changes if isinstance(c, Grew)] == [[0, 1], [2, 3], [4]]
