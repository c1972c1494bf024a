"""The files of all figures, each drawn only where the result has what it needs."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.report.allocation_figure import allocation_figure
from analysis.report.backtest_figure import backtest_figure
from analysis.report.figure_style import STYLE
from analysis.report.isoflop_figure import isoflop_figure
from analysis.report.loss_figure import loss_figure
from analysis.report.prediction_figure import prediction_figure
from analysis.report.profile_figure import profile_figure
from analysis.report.rate_figure import rate_figure
from analysis.report.rate_surface_figure import rate_surface_figure
from analysis.report.residual_figure import residual_figure
from analysis.result import ScalingFit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, "Callable[[ScalingFit], Figure | None]"] = {
    "loss_vs_compute": loss_figure,
    "isoflop_valleys": isoflop_figure,
    "optimal_allocation": allocation_figure,
    "residuals": residual_figure,
    "backtest": backtest_figure,
    "profiles": profile_figure,
    "predictions": prediction_figure,
    "best_peak_lr": rate_figure,
    "learning_rate_surface": rate_surface_figure,
}
"""File name -> what draws it: None where the result has nothing for it."""
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""By ending: without dates, so that the same fit writes the same bytes."""
_DPI = 180


def write_figures(result: ScalingFit, folder: Path) -> tuple[Path, ...]:
    """Returns the PNG, SVG and PDF files written to `folder`, those of FIGURES that the result has something for."""
    import matplotlib

    written: list[Path] = []
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            written += save_figure(draw(result), folder, name, kinds=tuple(_METADATA))
    return tuple(written)


def save_figure(figure: "Figure | None", folder: Path, name: str, *, kinds: Sequence[str]) -> list[Path]:
    """Returns the files of one figure, written in the style of a surrounding rc_context; of none, older ones go."""
    written: list[Path] = []
    for kind in kinds:
        path = folder / f"{name}.{kind}"
        if figure is None:
            path.unlink(missing_ok=True)  # an earlier fit's would pass for this one's
            continue
        figure.savefig(path, dpi=_DPI, metadata=_METADATA[kind], facecolor="white")
        written.append(path)
        figure.set_layout_engine("none")  # laid out by the first file; the others need not do it again
    return written
