"""``<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value></tool_call>``: GLM from 4.5 on."""

from __future__ import annotations

import re

from penstock.frontend.answers.tagged import TaggedReader

KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"
MARKS = (KEY, KEY_END, VALUE, VALUE_END)

_HEAD = re.compile(r"\s*([\w.\-]+)\s*(?=<)")
_HEAD_BEGUN = re.compile(r"\s*[\w.\-]*\s*")
_ARGUMENT = re.compile(r"<arg_key>([^<]+)</arg_key>\s*<arg_value>")


class GlmReader(TaggedReader):
    """Reads calls with and without line breaks between their parts."""

    value_end = VALUE_END

    def head(self) -> tuple[str, int] | None:
        """Find the name, which ends at the first tag."""
        found = _HEAD.match(self.buffer)
        return None if found is None else (found[1], found.end())

    def head_begun(self) -> bool:
        """Say whether the name may go on."""
        return bool(_HEAD_BEGUN.fullmatch(self.buffer))

    def argument(self, text: str) -> tuple[str, int] | None:
        """Find a key and the beginning of its value."""
        found = _ARGUMENT.match(text)
        return None if found is None else (found[1].strip(), found.end())

    def argument_begun(self, text: str) -> bool:
        """Say whether a key, or the tag of its value, may follow."""
        if not text.startswith(KEY):
            return KEY.startswith(text)
        key, mark, rest = text.removeprefix(KEY).partition(KEY_END)
        if mark:
            return VALUE.startswith(rest.lstrip())
        at = key.find("<")
        return at < 0 or KEY_END.startswith(key[at:])
