"""Loss against compute with the law, as Fig. 2 of arXiv:2310.16764; and the reference study's own points beside it."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from analysis.laws import Floats
from analysis.page.chart import Axis, Band, Chart, Dots, Layer, Line
from analysis.page.shown_runs import CELLS, PICKS, RUNS
from analysis.report.law_figure import LawLine, drawn_picks, law_line
from analysis.result import ScalingFit

LOSS = Axis(key="loss", label="held-out loss [nats]", unit="loss")
CORE_HOURS = Axis(key="core_hours", label="training compute [core-hours]", unit="core_hours")
FLOPS = Axis(key="flops", label="training compute [FLOPs]", unit="flops")
_OTHERS = {
    "params": Axis(key="params", label="parameters", unit="params"),
    "tokens": Axis(key="tokens", label="examples", unit="count"),
}


def compute_axes(result: ScalingFit) -> tuple[Axis, ...]:
    """Returns what a chart of this study may be drawn over, the law's own axis first."""
    axes = [axis for axis in (CORE_HOURS, FLOPS) if any(cell.compute(axis.key) for cell in result.cells)]
    if result.fit.axis in _OTHERS:
        axes.insert(0, _OTHERS[result.fit.axis])
    return tuple(sorted(axes, key=lambda axis: axis.key != result.fit.axis))


def loss_chart(result: ScalingFit, *, has_runs: bool) -> Chart | None:
    """Returns loss against compute; None for a law of something that no run says.

    Args:
        result: the fit.
        has_runs: whether the page's table of runs holds more than the cells do.
    """
    axes = compute_axes(result)
    if not axes:
        return None
    frontier = {id(cell) for cell in result.frontier}
    on = tuple(i for i, cell in enumerate(result.cells) if id(cell) in frontier)
    off = tuple(i for i, cell in enumerate(result.cells) if id(cell) not in frontier)
    joined = len(result.curves.models) <= len(result.cells) // 2 and len(result.cells) <= 400
    layers: list[Layer] = []
    line = law_line(result)
    if line is not None:
        layers += _law_layers(result, line)
    if has_runs:
        layers.append(Dots(table=RUNS, mark="dot", label="a run"))
    if joined:
        layers += [Line(x=x, y=y, style="faint", series=i) for i, (x, y) in enumerate(_curves(result))]
    layers.append(Dots(table=CELLS, mark="hollow", rows=off, label="a cell at its best learning rate"))
    layers.append(Dots(table=CELLS, mark="large", rows=on, label="beats every cheaper cell"))
    if drawn_picks(result):
        layers.append(Dots(table=PICKS, mark="diamond", bars=("low", "high"), label="a pick with its interval"))
    best = min(result.cells, key=lambda cell: cell.loss)
    return Chart(
        name="loss",
        title="Loss against compute",
        caption=_caption(result, line),
        summary=f"{len(result.cells)} cells of {len(result.curves.models)} models; the least loss is {best.loss:.4g}. "
        f"The law is {result.fit.law.formula}.",
        x=axes,
        y=LOSS,
        layers=tuple(layers),
        height_px=520,
    )


def loss_beside(chart: Chart) -> Chart:
    """Returns the chart of loss once more, for a place beside another: smaller, without single runs and picks."""
    layers = tuple(one for one in chart.layers if not isinstance(one, Dots) or one.table == CELLS)
    caption = chart.caption.replace(" Small: single runs.", "").partition(" Diamonds")[0]
    return dataclasses.replace(
        chart, name="own_loss", title="This study", caption=caption, layers=layers, height_px=360
    )  # fmt: skip


def _caption(result: ScalingFit, line: LawLine | None) -> str:
    words = ["Filled: beats every cheaper cell. Small: single runs."]
    if line is not None:
        words.append("Dashed: the law, dotted where nothing was run.")
        if line.low is not None:
            words.append(f"Grey: its {result.fit.level:.0%} interval.")
        words.append(f"Diamonds: picks with the {result.fit.level:.0%} interval of one run.")
    if result.flops_per_core_hour:
        words.append(f"Scale model: 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs.")
    return " ".join(words)


def _law_layers(result: ScalingFit, line: LawLine) -> list[Layer]:
    layers: list[Layer] = []
    parts = ((line.compute <= line.sampled_top, "dashed", "the law"), (line.compute >= line.sampled_top, "dotted", ""))
    for is_part, style, label in parts:
        if int(is_part.sum()) < 2:
            continue
        x = on_axes(result, line.compute[is_part])
        if line.low is not None and line.high is not None:
            layers.append(Band(x=x, low=line.low[is_part], high=line.high[is_part]))
        layers.append(Line(x=x, y=line.loss[is_part], style="dashed" if style == "dashed" else "dotted", label=label))
    return layers


def on_axes(result: ScalingFit, compute: Floats) -> Mapping[str, Floats]:
    """Returns compute of the law's axis on every axis that it can be carried to."""
    places: dict[str, Floats] = {result.fit.axis: compute}
    scale = result.flops_per_core_hour
    if scale and result.fit.axis == "core_hours":
        places["flops"] = compute * scale
    elif scale and result.fit.axis == "flops":
        places["core_hours"] = compute / scale
    return places


def _curves(result: ScalingFit) -> list[tuple[Mapping[str, Floats], Floats]]:
    """Returns each model's cells as a line, in the order of the series."""
    found: list[tuple[Mapping[str, Floats], Floats]] = []
    for members in result.curves.members:
        cells = [result.cells[int(i)] for i in members]
        x = {
            key: np.array([cell.compute(key) for cell in cells], dtype=np.float64)
            for key in ("core_hours", "flops")
            if all(cell.compute(key) for cell in cells)
        }
        x.setdefault(result.fit.axis, np.array([cell.compute(result.fit.axis) for cell in cells], dtype=np.float64))
        found.append((x, np.array([cell.loss for cell in cells], dtype=np.float64)))
    return found
