"""What a chart of the page is made of: axes, layers, and the table behind its dots; not how it is drawn."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from analysis.laws import Floats

_DIGITS = 6
"""Of a number in the page: a dot is placed more finely than a screen can show."""

Unit = Literal["core_hours", "flops", "loss", "params", "count", "rate", "percent", "factor"]
"""How the numbers of an axis are written."""
Mark = Literal["dot", "large", "hollow", "cross", "diamond", "up", "down"]
Value = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: what it shows, and in which unit its numbers are written."""

    key: str
    """The column of a table, or the key of a layer's own places, that it takes its numbers from."""
    label: str
    unit: Unit
    is_log: bool = True
    ticks: tuple[float, ...] | None = None
    """Where its numbers stand; None: at round ones."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that dots stand for, by columns: what a hovered dot tells is a row of its table."""

    name: str
    columns: Mapping[str, Sequence[Value]]
    """A missing number is None. The column `series` holds indices of the page's series, -1 for none."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values()), ()))


@dataclass(frozen=True, kw_only=True)
class Dots:
    """Rows of a table as dots, coloured by series; those without a place on both axes are not drawn."""

    table: str
    mark: Mark = "dot"
    rows: tuple[int, ...] | None = None
    """Which rows; None for all."""
    is_joined: bool = False
    """Whether the dots of a series are joined by a line, in the order of the rows."""
    bars: tuple[str, str] | None = None
    """Columns of the low and high end of a bar through each dot."""
    label: str = ""
    """What the legend calls it."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line through places of its own."""

    x: Mapping[str, Floats]
    """Places on each axis that the chart can be drawn over; where one is missing, so is the line."""
    y: Floats
    style: Literal["solid", "dashed", "dotted", "faint", "broad"] = "solid"
    series: int = -1
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Band:
    """The area between two lines."""

    x: Mapping[str, Floats]
    low: Floats
    high: Floats
    label: str = ""


Layer = Dots | Line | Band


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure of the page."""

    name: str
    title: str
    caption: str
    """How to read its marks."""
    summary: str
    """What it shows, for those who cannot see it."""
    x: tuple[Axis, ...]
    """What may lie along it: the page's switch chooses where there are several."""
    y: Axis
    layers: tuple[Layer, ...]
    height_px: int = 420


def chart_json(chart: Chart) -> dict[str, Any]:
    """Returns the chart as the page's script reads it."""
    return {
        "name": chart.name,
        "title": chart.title,
        "summary": chart.summary,
        "height": chart.height_px,
        "x": [vars(axis) for axis in chart.x],
        "y": vars(chart.y),
        "layers": [_layer_json(layer) for layer in chart.layers],
    }


def table_json(table: Table) -> dict[str, Any]:
    """Returns the table as the page's script reads it."""
    return {name: [_short(value) for value in column] for name, column in table.columns.items()}


def _layer_json(layer: Layer) -> dict[str, Any]:
    match layer:
        case Dots():
            kind: dict[str, Any] = {"kind": "dots", "table": layer.table, "mark": layer.mark, "rows": layer.rows}
            return kind | {"joined": layer.is_joined, "bars": layer.bars, "label": layer.label}
        case Line():
            kind = {"kind": "line", "style": layer.style, "series": layer.series, "label": layer.label}
            return kind | {"xs": _places(layer.x), "ys": _numbers(layer.y)}
        case Band():
            kind = {"kind": "band", "label": layer.label, "series": -1}
            return kind | {"xs": _places(layer.x), "low": _numbers(layer.low), "high": _numbers(layer.high)}


def _places(x: Mapping[str, Floats]) -> dict[str, list[Value]]:
    return {key: _numbers(values) for key, values in x.items()}


def _numbers(values: Floats) -> list[Value]:
    return [_short(float(value)) for value in values]


def _short(value: Value) -> Value:
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{_DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
