"""The files of a comparison: compare.json and its figures."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.compare.compare_json import comparison_json
from analysis.compare.findings import Comparison
from analysis.compare.gap_figure import axes_figure, gap_figure
from analysis.compare.laws_figure import laws_figure
from analysis.compare.map_figure import map_figure, maps_figure
from analysis.report.figure_style import STYLE
from analysis.report.figures import save_figure
from sweeps.errors import StudyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES: dict[str, "Callable[[Comparison], Figure | None]"] = {
    "families_laws": laws_figure,
    "families_gap": gap_figure,
    "families_by_axis": axes_figure,
    "families_map": map_figure,
}
"""File name -> what draws it."""


def write_comparison(result: Comparison, folder: Path, budgets: Sequence[float] = ()) -> tuple[Path, ...]:
    """Returns the files written to `folder`, which is made."""
    import matplotlib

    _make(folder)
    written = [folder / "compare.json"]
    text = json.dumps(comparison_json(result, budgets), indent=1, allow_nan=False)
    written[0].write_text(text + "\n", encoding="utf-8")
    with matplotlib.rc_context(STYLE):
        for name, draw in FIGURES.items():
            written += save_figure(draw(result), folder, name, kinds=("png", "svg"))
    return tuple(written)


def write_maps(results: Sequence[Comparison], folder: Path) -> tuple[Path, ...]:
    """Returns the files of the maps of several studies, written to `folder`, which is made."""
    import matplotlib

    _make(folder)
    with matplotlib.rc_context(STYLE):
        return tuple(save_figure(maps_figure(results), folder, "families_map", kinds=("png", "svg")))


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
