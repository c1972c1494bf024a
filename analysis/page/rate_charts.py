"""Learning rates: loss against the peak rate in each cell, the best rate against epochs, and the map of both."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.estimators.best_rate import Cell
from analysis.page.chart import Axis, Chart, Dots, Layer, Line, Table, Value
from analysis.result import ScalingFit

TRIED, BEST = "tried", "best"
_MOST_TICKS = 9
_APART = 1.035
"""Factor between the rates of two models that are drawn side by side: on a grid of factors of two they would hide one
another."""


@dataclass(frozen=True, kw_only=True)
class MapCell:
    """One cell of the map of learning rates."""

    peak_lr: float | None
    """Best one; missing where the cell was not run."""
    shade: float
    """From 0 (lowest of the map) to 1."""
    note: str
    """edge | single rate | diverged above: what a reader should doubt; empty where nothing."""
    tried: int = 0
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class RateMap:
    """Best peak learning rate by model and epochs."""

    models: tuple[str, ...]
    epochs: tuple[float, ...]
    cells: tuple[tuple[MapCell, ...], ...]
    """A row for each model."""


def rate_map(result: ScalingFit) -> RateMap | None:
    """Returns the map; None without rates or epochs, or with more epochs than a table holds."""
    cells = {(cell.model, cell.epochs): cell for cell in result.cells if has_rate(cell)}
    epochs = sorted({epochs for _, epochs in cells if epochs is not None})
    models = [model for model in result.curves.models if any(model == name for name, _ in cells)]
    if not cells or len(epochs) > 16 or len(models) > 40:
        return None
    rates = [math.log(cell.best.peak_lr or 1.0) for cell in cells.values()]
    low, span = min(rates), max(rates) - min(rates)
    unstable = {(rate.model, rate.epochs) for rate in result.points.unstable}

    def entry(model: str, at: float) -> MapCell:
        cell = cells.get((model, at))
        if cell is None or cell.best.peak_lr is None:
            return MapCell(peak_lr=None, shade=0.0, note="")
        note = {"low": "lowest tried", "high": "highest tried", "single": "only one tried"}.get(cell.edge or "", "")
        if (model, at) in unstable and not note:
            note = "higher diverged"
        return MapCell(
            peak_lr=cell.best.peak_lr,
            shade=(math.log(cell.best.peak_lr) - low) / span if span else 0.5,
            note=note,
            tried=len(cell.tried),
            loss=cell.loss,
        )

    return RateMap(
        models=tuple(models),
        epochs=tuple(epochs),
        cells=tuple(tuple(entry(model, at) for at in epochs) for model in models),
    )


def epochs_axis(epochs: Iterable[float | None]) -> Axis:
    """Returns an axis of epochs with a number at each that was run, where they are few."""
    return Axis(key="epochs", label="epochs", unit="rate", ticks=_few(epochs))


def rate_axis(key: str, label: str, rates: Iterable[float | None]) -> Axis:
    """Returns an axis of learning rates with a number at each that was tried, where they are few."""
    return Axis(key=key, label=label, unit="rate", ticks=_few(rates))


def _few(values: Iterable[float | None]) -> tuple[float, ...] | None:
    known = tuple(sorted({value for value in values if value}))
    return known if len(known) <= _MOST_TICKS else None


def has_rate(cell: Cell) -> bool:
    """Returns whether the cell has a place on log axes of rate against epochs."""
    rate, epochs = cell.best.peak_lr, cell.epochs
    return rate is not None and epochs is not None and 0 < rate < math.inf and 0 < epochs < math.inf


def tried_chart(result: ScalingFit) -> tuple[Chart, Table] | None:
    """Returns the loss at every rate tried, a line for each cell; None where no cell has tried two."""
    index = {model: i for i, model in enumerate(result.curves.models)}
    cells = [cell for cell in result.cells if has_rate(cell)]
    if not any(len(cell.tried) > 1 for cell in cells):
        return None
    rows = [(cell, rate) for cell in cells for rate in cell.tried if rate.peak_lr]
    best = tuple(i for i, (cell, rate) in enumerate(rows) if rate is cell.best)
    rest = tuple(i for i, (cell, rate) in enumerate(rows) if rate is not cell.best)
    columns: dict[str, list[Value]] = {
        "series": [index.get(cell.model, -1) for cell, _ in rows],
        "peak_lr": [rate.peak_lr for _, rate in rows],
        "loss": [rate.loss for _, rate in rows],
        "selection_loss": [rate.selection_loss for _, rate in rows],
        "epochs": [cell.epochs for cell, _ in rows],
        "seeds": [len(rate.losses) for _, rate in rows],
        "core_hours": [cell.core_hours for cell, _ in rows],
        "flops": [cell.flops for cell, _ in rows],
    }
    layers: list[Layer] = [
        Line(
            x={"peak_lr": np.array([rate.peak_lr or math.nan for rate in cell.tried])},
            y=np.array([rate.selection_loss for rate in cell.tried]),
            style="faint",
            series=index.get(cell.model, -1),
        )
        for cell in cells
        if len(cell.tried) > 1
    ]
    layers.append(Dots(table=TRIED, mark="hollow", rows=rest, label="tried"))
    layers.append(Dots(table=TRIED, mark="large", rows=best, label="best of its cell"))
    chart = Chart(
        name="tried",
        title="Loss against learning rate",
        caption="A line for each cell; filled: its best rate. Rates are chosen on held-out images of their own.",
        summary=f"{len(cells)} cells, {len(rows)} pairs of cell and rate.",
        x=(rate_axis("peak_lr", "peak learning rate", (rate.peak_lr for _, rate in rows)),),
        y=Axis(key="selection_loss", label="loss on the images for choosing [nats]", unit="loss"),
        layers=tuple(layers),
    )
    return chart, Table(name=TRIED, columns=columns)


def best_rate_chart(result: ScalingFit) -> tuple[Chart, Table] | None:
    """Returns the best rate against epochs, as Fig. 3 of arXiv:2310.16764; None without rates or epochs."""
    cells = sorted((cell for cell in result.cells if has_rate(cell)), key=lambda cell: cell.epochs or 0.0)
    if not cells or len(result.curves.models) > 16:
        return None
    index = {model: i for i, model in enumerate(result.curves.models)}
    points = [(index.get(cell.model, -1), cell.epochs, cell.best.peak_lr, cell.edge) for cell in cells]
    table, layers = best_rates(BEST, points)
    chart = Chart(
        name="rates",
        title="Best learning rate against epochs",
        caption="Triangles: best rate on the edge of those tried. Equal rates are drawn slightly apart.",
        summary="; ".join(f"{cell.model} at {cell.epochs:g} epochs: {cell.best.peak_lr:g}" for cell in cells[:60]),
        x=(epochs_axis(cell.epochs for cell in cells),),
        y=rate_axis("drawn", "best peak learning rate", (cell.best.peak_lr for cell in cells)),
        layers=layers,
        height_px=360,
    )
    return chart, table


def best_rates(
    name: str, points: Sequence[tuple[int, float | None, float | None, str | None]]
) -> tuple[Table, tuple[Layer, ...]]:
    """Returns rows and layers of a chart of best rates.

    Args:
        name: of the table.
        points: (series, epochs, best peak rate, edge as in Cell) by rising epochs.
    """
    middle = (max((series for series, *_ in points), default=0)) / 2
    columns: dict[str, list[Value]] = {
        "series": [series for series, *_ in points],
        "epochs": [epochs for _, epochs, *_ in points],
        "peak_lr": [rate for _, _, rate, _ in points],
        "drawn": [(rate or math.nan) * _APART ** (series - middle) for series, _, rate, _ in points],
        "edge": [edge for *_, edge in points],
    }
    marks = {"high": "up", "low": "down"}
    layers: list[Layer] = []
    for series in sorted({series for series, *_ in points}):
        own = [i for i, point in enumerate(points) if point[0] == series]
        layers.append(
            Line(
                x={"epochs": np.array([columns["epochs"][i] for i in own], dtype=np.float64)},
                y=np.array([columns["drawn"][i] for i in own], dtype=np.float64),
                style="faint",
                series=series,
            )
        )
    for edge, mark, label in (
        (None, "large", "best"),
        ("high", "up", "highest tried"),
        ("low", "down", "lowest tried"),
    ):
        own = tuple(i for i, point in enumerate(points) if (point[3] if point[3] in marks else None) == edge)
        if own:
            kind = "large" if mark == "large" else "up" if mark == "up" else "down"
            layers.append(Dots(table=name, mark=kind, rows=own, label=label))
    return Table(name=name, columns=columns), tuple(layers)
