"""Writes the page of settings: ``python -m penstock.config.docs docs/configuration.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from penstock.config.fields import Field, all_fields, sections
from penstock.config.flags import ALIASES

_HEAD = """# Configuration

Generated from `penstock/config/settings.py` by `make docs`; edit the settings, not this page.

Every setting can be given three ways, the later ones winning: its default, a file (`--config penstock.toml`),
and a flag. A flag has a long spelling, `--schedule.max-num-seqs 8`, and a short one, `--max-num-seqs 8`;
switches have a `--no-` form. Lists are given by repeating the flag. A file has one table per section
(JSON has the same shape):

```toml
[model]
model = "/models/my-llama"

[schedule]
max_num_seqs = 32
order = "priority > fcfs"
```

A name that does not exist, a value of the wrong type or outside its range stops the start with one line
that names the setting.
"""

_ALIASES_HEAD = """
## Flags with familiar names

Flags of other servers, and what they are here.

| flag | same as |
|---|---|
"""


def render() -> str:
    """Return the whole page."""
    parts = [_HEAD]
    for section, struct in sections().items():
        parts.append(f"\n## `[{section}]`\n\n{(struct.__doc__ or '').strip()}\n\n")
        parts.append("| setting | default | accepts | meaning |\n|---|---|---|---|\n")
        parts += [_row(field) for field in all_fields() if field.section == section]
    parts.append(_ALIASES_HEAD)
    for alias in ALIASES:
        names = ", ".join(f"`{flag}`" for flag in alias.flags)
        parts.append(f"| {names} | `{alias.same_as}` |\n")
    return "".join(parts)


def _row(field: Field) -> str:
    accepts = ", ".join(f"`{word}`" for word in field.choices) or " ".join(
        part for part in (field.expected, f"({field.unit})" if field.unit else "") if part
    )
    cells = (f"`{field.name}`", f"`{field.default_text}`", accepts, field.description)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def main(arguments: list[str]) -> int:
    """Write the page to the path given, or print it."""
    if arguments:
        Path(arguments[0]).write_text(render(), encoding="utf-8")
    else:
        print(render(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
