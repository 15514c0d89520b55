"""Recall over context and depth as a heat map."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from penstock.zoo.exams.rows import Row


def draw(cells: Sequence[Row], path: Path) -> None:
    """Draw the cells of one or several models: a panel for each model and way of asking.

    Args:
        cells: rows of the part ``grid``.
        path: picture to write; its ending says the format.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels: dict[tuple[str, str, str], list[Row]] = {}
    for row in cells:
        panels.setdefault((row.model, row.labels["asked"], row.labels["needles"]), []).append(row)
    models = list(dict.fromkeys(model for model, _, _ in panels))
    ways = list(dict.fromkeys((asked, needles) for _, asked, needles in panels))
    size = (1.5 + 3.9 * len(ways), 0.7 + 2.9 * len(models))
    figure, axes = pyplot.subplots(len(models), len(ways), figsize=size, squeeze=False, layout="constrained")
    image: Any = None
    for (model, asked, needles), mine in panels.items():
        axis = axes[models.index(model)][ways.index((asked, needles))]
        image = _panel(axis, mine)
        axis.set_title(f"{model}\nquestion {asked} the text, {needles} pairs", fontsize=10)
    figure.colorbar(image, ax=axes, label="exact answers, %", shrink=0.85)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _panel(axis: Any, cells: Sequence[Row]) -> Any:
    depths = sorted({row.labels["depth"] for row in cells})
    contexts = sorted({row.labels["context"] for row in cells})
    found = {(row.labels["depth"], row.labels["context"]): 100 * row.value for row in cells}
    shown = [[found.get((depth, context), float("nan")) for context in contexts] for depth in depths]
    image = axis.imshow(shown, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    for line, values in enumerate(shown):
        for column, value in enumerate(values):
            color = "black" if value > 60 else "white"
            axis.text(column, line, f"{value:.0f}", ha="center", va="center", fontsize=9, color=color)
    axis.set_xticks(range(len(contexts)), [str(context) for context in contexts])
    axis.set_yticks(range(len(depths)), [f"{depth:.0%}" for depth in depths])
    axis.set_xlabel("tokens of context")
    axis.set_ylabel("depth of the pair asked for")
    return image
