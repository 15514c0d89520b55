"""Reports as tables in a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.zoo.exams.report import Report
from penstock.zoo.exams.rows import Row

_TITLES = {
    "skills": "Skills: questions on held-out keys, checked exactly",
    "targets": "What the project set itself",
    "controls": "Controls: is the skill a skill?",
    "draft": "Draft: tokens that the chat model would have written too, at temperature 0",
    "adapters": "Adapters: answers that their checker takes for theirs, switched on and off",
    "ranker": "Length ranker",
    "embedder": "Embedder",
    "models": "Models: mean of all skills",
}


def tables(report: Report) -> Iterator[Any]:
    """Yield rich tables and lines, in the order in which one reads them."""
    for part in ("skills", "targets"):
        yield from _by_model(part, report.of(part))
    yield from grid_tables(report.of("grid"))
    yield from _by_model("controls", report.of("controls"))
    if drafted := report.of("draft"):
        yield _table("draft", [(_labelled(row), row) for row in drafted])
    if adapters := report.of("adapters"):
        yield _switches(adapters)
    for part in ("ranker", "embedder"):
        if rows := report.of(part):
            yield _table(part, [(row.name, row) for row in rows])
    if averages := report.of("models"):
        yield _table("models", [(row.model, row) for row in averages])
    for name, why in report.missing.items():
        yield f"{name}: {why}"


def percent(share: float) -> str:
    """Return a share in percent with one digit behind the point, rounded never up to 100."""
    text = f"{100 * share:.1f}"
    return f"{'99.9' if text == '100.0' and share < 1 else text} %"


def verdict(row: Row) -> str:
    """Return ``pass``, ``short`` or, without a target, nothing."""
    return "" if row.reached is None else "pass" if row.reached else "short"


def grid_tables(cells: Sequence[Row]) -> Iterator[Any]:
    """Yield a table per model and way of asking: a line per length, a column per depth."""
    from rich.table import Table

    ways = dict.fromkeys((row.model, row.labels["asked"], row.labels["needles"]) for row in cells)
    for model, asked, needles in ways:
        mine = [
            row
            for row in cells
            if (row.model, row.labels["asked"], row.labels["needles"]) == (model, asked, needles)
        ]
        depths = sorted({row.labels["depth"] for row in mine})
        title = f"Recall by {model}: exact answers, question {asked} the text, {needles} pairs in it"
        table = Table(title=title, title_justify="left")
        table.add_column("context", justify="right")
        for depth in depths:
            table.add_column(f"depth {depth:.0%}", justify="right")
        table.add_column("n per cell", justify="right")
        for context in sorted({row.labels["context"] for row in mine}):
            line = {row.labels["depth"]: row for row in mine if row.labels["context"] == context}
            shown = [percent(line[depth].value) for depth in depths]
            table.add_row(str(context), *shown, str(line[depths[0]].total))
        yield table


def _by_model(part: str, rows: Sequence[Row]) -> Iterator[Any]:
    for model in dict.fromkeys(row.model for row in rows):
        yield _table(part, [(row.name, row) for row in rows if row.model == model], model)


def _labelled(row: Row) -> str:
    return str(row.labels.get("skill", "all answers"))


def _table(part: str, lines: Sequence[tuple[str, Row]], model: str = "") -> Any:
    from rich.table import Table

    title = _TITLES[part] + (f" ({model})" if model else "")
    rows = [row for _, row in lines]
    stops, aims = part == "skills", any(row.target is not None for row in rows)
    table = Table(title=title, title_justify="left")
    table.add_column("", min_width=min(40, max(len(name) for name, _ in lines)))
    for name in ("value", "95 % interval", *(["stopped"] if stops else []), "n"):
        table.add_column(name, justify="right")
    for name in ("target", "") if aims else ():
        table.add_column(name)
    for name, row in lines:
        low, high = _interval(row)
        stopped = [_stopped(row)] if stops else []
        aim = [_target(row), verdict(row)] if aims else []
        table.add_row(name, _value(row), f"{low} to {high}", *stopped, str(row.total), *aim)
    return table


def _switches(rows: Sequence[Row]) -> Any:
    from rich.table import Table

    table = Table(title=_TITLES["adapters"], title_justify="left")
    for name in ("adapter", "on", "", "off", ""):
        table.add_column(name, justify="left" if name in ("adapter", "") else "right")
    by_name: dict[str, dict[bool, Row]] = {}
    for row in rows:
        by_name.setdefault(row.name, {})[row.labels["on"]] = row
    for name, sides in by_name.items():
        cells = [text for on in (True, False) for text in _side(sides.get(on))]
        table.add_row(name, *cells)
    return table


def _side(row: Row | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    low, high = _interval(row)
    return f"{_value(row)} ({low} to {high})", verdict(row)


def _is_share(row: Row) -> bool:
    return row.part != "ranker"


def _value(row: Row) -> str:
    return percent(row.value) if _is_share(row) else f"{row.value:.3f}"


def _interval(row: Row) -> tuple[str, str]:
    if _is_share(row):
        return f"{100 * row.low:.0f}", f"{100 * row.high:.0f} %"
    return f"{row.low:.2f}", f"{row.high:.2f}"


def _stopped(row: Row) -> str:
    return "" if row.stopped is None or not row.total else percent(row.stopped / row.total)


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    aim = f"{100 * row.target:g} %" if _is_share(row) else f"{row.target:g}"
    return f"{'>=' if row.bound == 'at least' else '<='} {aim}"


def failures(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what went wrong, a few lines each: the end of the question, the wanted and the given answer."""
    for row in rows:
        for user, wanted, got in row.failures:
            yield f"{row.name}{_where(row.labels)}: {_tail(user)!r}\n  wanted {wanted!r}\n  got    {got!r}"


def _where(labels: Mapping[str, Any]) -> str:
    shown = ", ".join(f"{name} {value}" for name, value in labels.items())
    return f" ({shown})" if shown else ""


def _tail(text: str, most: int = 400) -> str:
    return text if len(text) <= most else "..." + text[-most:]
