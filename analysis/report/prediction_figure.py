"""The figure of foresight: losses that were predicted before a cell was trained, against what it then reached."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from typing import TYPE_CHECKING

import numpy as np

from analysis.report.axis_ticks import loss_ticks, set_ticks
from analysis.report.figure_style import BLUE, INK, RED, is_raster, new_figure, source_title, thinned, tidy
from analysis.result import ScalingFit
from analysis.tables.judged import calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST = 2


def prediction_figure(result: ScalingFit) -> "Figure | None":
    """Returns the figure; None with fewer than two predictions that were trained since."""
    judged = [one for one in result.points.judged if one.actual_loss is not None]
    found = calibration(judged)
    if found is None or len(judged) < _LEAST:
        return None
    shown = [judged[i] for i in thinned(len(judged))]
    actual = np.array([one.actual_loss or np.nan for one in shown], dtype=np.float64)
    middle = np.array([one.prediction.predicted_loss for one in shown], dtype=np.float64)
    bounds = np.array([(one.prediction.low, one.prediction.high) for one in shown], dtype=np.float64)
    is_within = np.array([one.is_within is True for one in shown], dtype=bool)
    level = f"{found.level:.0%}"
    figure = new_figure(
        6.4,
        5.2,
        f"Predicted before it was trained: {source_title(result.points)}",
        f"bars: {level} prediction intervals, which held {found.within} of {found.trained} runs",
        f"error {found.rms_log_error:.2%} (rms), {found.mean_log_error:+.2%} on average",
        "red: outside its interval",
    )
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = float(min(actual.min(), bounds.min())), float(max(actual.max(), bounds.max()))
    room = max((high / low) ** 0.06, 1.01)
    axes.plot([low / room, high * room], [low / room, high * room], color=INK, linewidth=1.0, zorder=2)
    for mask, colour in ((is_within, BLUE), (~is_within, RED)):
        axes.vlines(actual[mask], *bounds[mask].T, colors=colour, linewidth=1.1, alpha=0.55, zorder=3)
        axes.scatter(
            actual[mask], middle[mask], s=20, c=colour, linewidths=0, zorder=4, rasterized=is_raster(len(shown))
        )
    for axis, limits in (("x", axes.set_xlim), ("y", axes.set_ylim)):
        limits(low / room, high * room)
        ticks, labels = loss_ticks(low / room, high * room)
        set_ticks(axes, axis, ticks, labels)
    tidy(axes)
    axes.set_xlabel("held-out loss reached [nats]")
    axes.set_ylabel("held-out loss predicted [nats]")
    return figure
