"""The files that a fit leaves: the report, fit.json, pick.yaml and every figure."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.page.background import background_of
from analysis.page.page import write_page
from analysis.picks.foresight import foreseen
from analysis.picks.pick_file import write_picks
from analysis.report.figures import write_figures
from analysis.report.fit_json import write_fit
from analysis.result import ScalingFit
from sweeps.errors import StudyError
from tracking.paths import folder_name, project_paths
from tracking.predictions import freeze

PICK_FILE = "pick.yaml"
_FOR_PROGRAMS = ("--json", "--keep-picks")


@dataclass(frozen=True, kw_only=True)
class FitFiles:
    """Where a fit's files are."""

    report: Path
    """The HTML page."""
    fit_json: Path
    picks: Path | None
    """pick.yaml; None where an older one was to stay."""
    figures: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, the report first."""
        return (self.report, self.fit_json, *([self.picks] if self.picks else []), *self.figures)


def folder_of(result: ScalingFit, arguments: argparse.Namespace) -> Path:
    """Returns the folder that the words name, which is made; raises StudyError where it cannot be."""
    folder: Path | None = arguments.out
    if folder is None:
        table = arguments.data.stem if arguments.data else arguments.experiment
        folder = project_paths().reports_dir / folder_name(result.points.study or table)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
    return folder


def write_files(result: ScalingFit, folder: Path, *, words: Sequence[str], keep_picks: bool) -> FitFiles:
    """Returns the files written; what a recorded study foresees is frozen in its ledger besides.

    Args:
        result: the fit.
        folder: where to; it exists.
        words: what was typed behind fit_scaling.py.
        keep_picks: leave an older pick.yaml as it is.
    """
    fit_json = write_fit(result, folder)
    if result.points.study is not None:
        freeze(project_paths(), result.points.study, foreseen(result))
    picks = folder / PICK_FILE
    if not keep_picks:
        write_picks(result, picks)
    background = background_of(
        result.points,
        project_paths(),
        typed=[word for word in words if word not in _FOR_PROGRAMS],
        pick_file=_typed_path(picks),
    )
    return FitFiles(
        report=write_page(result, folder, background),
        fit_json=fit_json,
        picks=None if keep_picks else picks,
        figures=write_figures(result, folder),
    )


def _typed_path(path: Path) -> str | None:
    """Returns a file as one types it in the checkout; None where it is missing."""
    if not path.is_file():
        return None
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
