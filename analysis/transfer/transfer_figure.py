"""Error after fine-tuning against pre-training compute (Fig. 1 of arXiv:2310.16764) and against pre-training loss."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from analysis.report.axis_ticks import POWER_POINTS, compute_ticks, loss_ticks, set_ticks
from analysis.report.figure_style import FAINT, INK, PALETTE, model_title, new_figure, plain_text, spread_out, tidy
from analysis.report.law_figure import draw_law, law_line
from analysis.result import ScalingFit
from analysis.transfer.checkpoint import best_of_each_cell
from analysis.transfer.published import Landmark
from analysis.transfer.transfer_fit import TransferFit
from sweeps.budget import format_core_hours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
_STAR_POINTS = 12.0
"""Names keep so clear of the stars, which lie where the largest model's curve ends."""
_NAME_GAP_POINTS, _PLOT_HEIGHT_POINTS = 11.0, 330.0


def transfer_figure(result: TransferFit) -> "Figure | None":
    """Returns the figure; None without two checkpoints or for more models than there are colours."""
    models = _models(result)
    if len(result.checkpoints) < 2 or len(models) > len(PALETTE):
        return None
    figure = new_figure(11.4, 5.6, f"Error after fine-tuning: {result.title}", *_footer(result))
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1.0))
    _draw_compute(left, result, models)
    _draw_loss(right, result, models)
    return figure


def _draw_compute(axes: "Axes", result: TransferFit, models: Sequence[str]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    cells = best_of_each_cell(result.checkpoints)
    frontier = {(cell.model, cell.epochs) for cell in result.law.frontier} if result.law else set[object]()
    ends: list[tuple[str, float, float]] = []
    for model in models:
        own = [item for item in cells if item.model == model]
        colour, marker = _look(models, model)
        x, y = [item.core_hours for item in own], [item.error for item in own]
        axes.plot(x, y, color=colour, linewidth=1.3, alpha=0.9, zorder=3)
        noise = [item.error_sd or 0.0 for item in own]
        axes.errorbar(x, y, yerr=noise, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.7, zorder=3)
        face = [colour if (item.model, item.epochs) in frontier else "white" for item in own]
        axes.scatter(x, y, s=34, marker=marker, c=face, edgecolors=colour, linewidths=1.2, zorder=4)
        ends.append((model, x[-1], y[-1]))
    _draw_landmarks(axes, result.landmarks)
    if result.law is not None:
        draw_law(axes, result.law, law_line(result.law))
        axes.text(
            0.025, 0.03, _law_text(result.law), transform=axes.transAxes, va="bottom", ha="left",
            fontsize=POWER_POINTS, linespacing=1.5, color=INK, zorder=8,
            bbox={"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": "#d5d5d5", "alpha": 0.92},
        )  # fmt: skip
    _name_curves(axes, ends, models, lift_points=_STAR_POINTS if result.landmarks else 0.0)
    right = max([1.7 * max(x for _, x, _ in ends), *(1.15 * landmark.core_hours for landmark in result.landmarks)])
    axes.set_xlim(min(item.core_hours for item in cells) / 1.3, right)
    _stretch(axes)
    set_ticks(axes, "x", *compute_ticks(*axes.get_xlim(), in_core_hours=True))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("pre-training compute [core-hours]")
    axes.set_ylabel("top-1 error after fine-tuning [%]")


def _draw_landmarks(axes: "Axes", landmarks: Sequence[Landmark]) -> None:
    """Draws stars, and in the empty corner what they are, from the largest error down."""
    ordered = sorted(landmarks, key=lambda landmark: -landmark.error)
    if not ordered:
        return
    x, y = [landmark.core_hours for landmark in ordered], [landmark.error for landmark in ordered]
    axes.scatter(x, y, s=46, marker="*", c=FAINT, linewidths=0, zorder=5)
    lines = [f"★ {plain_text(item.name)}: {item.error:g} %, {format_core_hours(item.core_hours)}" for item in ordered]
    axes.text(
        0.98, 0.97, "\n".join(lines), transform=axes.transAxes, ha="right", va="top", fontsize=8, color=FAINT,
        linespacing=1.5,
    )  # fmt: skip


def _draw_loss(axes: "Axes", result: TransferFit, models: Sequence[str]) -> None:
    """Draws error against the loss that pre-training ended with: a line for each model where loss told all."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    known = [item for item in result.checkpoints if item.loss is not None]
    for model in models:
        own = sorted((item for item in known if item.model == model), key=lambda item: -(item.loss or 0.0))
        colour, marker = _look(models, model)
        x, y = [item.loss or 0.0 for item in own], [item.error for item in own]
        axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.6, zorder=3)
        axes.scatter(x, y, s=24, marker=marker, c="white", edgecolors=colour, linewidths=1.1, zorder=4)
    for contest in result.contests:
        if contest.differs and contest.by_loss.loss and contest.by_error.loss:
            axes.annotate(
                "", (contest.by_error.loss, contest.by_error.error), (contest.by_loss.loss, contest.by_loss.error),
                arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 0.9}, zorder=5,
            )  # fmt: skip
    axes.invert_xaxis()
    low, high = sorted(axes.get_xlim())
    set_ticks(axes, "x", *loss_ticks(low, high))
    set_ticks(axes, "y", *loss_ticks(*axes.get_ylim()))
    tidy(axes)
    axes.set_xlabel("held-out loss of pre-training [nats]")


def _name_curves(
    axes: "Axes", ends: Sequence[tuple[str, float, float]], models: Sequence[str], *, lift_points: float
) -> None:
    """Writes each model's name at the end of its curve, apart from the others at that height."""
    from matplotlib.patheffects import withStroke

    heights = np.log([y for _, _, y in ends])
    low, high = np.log(axes.get_ylim())
    wanted = [float(h) for h in heights / max(high - low, 1e-9) * _PLOT_HEIGHT_POINTS]
    for (model, x, y), placed, own in zip(ends, spread_out(wanted, _NAME_GAP_POINTS), wanted, strict=True):
        axes.annotate(
            model_title(model), (x, y), xytext=(7, placed - own + lift_points), textcoords="offset points", va="center",
            color=_look(models, model)[0], fontweight="bold", fontsize=10, zorder=6,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _stretch(axes: "Axes") -> None:
    """Makes room for the law's words below the points."""
    low, high = axes.get_ylim()
    axes.set_ylim(low**1.22 / high**0.22, high**1.03 / low**0.03)


def _law_text(law: ScalingFit) -> str:
    values, slope = law.fit.values, law.fit.parameters["b"]
    bounds = "" if slope.low is None or slope.high is None else f"  ({-slope.high:.3f} to {-slope.low:.3f})"
    head = rf"error $= {values['a']:.3g}\;C^{{\,-{values['b']:.3f}}}$ %".replace("^{\\,--", "^{\\,")
    rows = f"$r^2$ {law.fit.r2:.3f} over {len(law.frontier)} frontier cells"
    return "\n".join([head, f"slope {-slope.value:.3f}{bounds}".replace("-", "−"), rows])


def _footer(result: TransferFit) -> list[str]:
    parts = [f"{len(result.checkpoints)} checkpoints"]
    if result.flops_per_core_hour:
        parts.append(f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs")
    if result.law is not None:
        parts += ["filled: beats every cheaper one", f"grey: {result.law.fit.level:.0%} interval of the law"]
    if any(item.error_sd for item in result.checkpoints):
        parts.append("bars: sd, from the number of held-out images and from seeds")
    if any(contest.differs for contest in result.contests):
        parts.append("arrows: from the least loss within a budget to the least error within it")
    return parts


def _models(result: TransferFit) -> list[str]:
    """Returns the models from small to large: by what an epoch of pre-training costs."""
    rates: dict[str, float] = {}
    for item in result.checkpoints:
        rates.setdefault(item.model, item.core_hours / item.epochs)
    return sorted(rates, key=lambda model: rates[model])


def _look(models: Sequence[str], model: str) -> tuple[str, str]:
    place = models.index(model)
    return PALETTE[place], _MARKERS[place]
