"""The files of a transfer fit: transfer.json, and the figure where it can be drawn."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import json
from pathlib import Path

from analysis.report.figure_style import STYLE
from analysis.report.figures import save_figure
from analysis.transfer.transfer_figure import transfer_figure
from analysis.transfer.transfer_fit import TransferFit
from analysis.transfer.transfer_json import transfer_json
from sweeps.errors import StudyError

FIGURE = "error_vs_compute"


def write_transfer(result: TransferFit, folder: Path) -> tuple[Path, ...]:
    """Returns the files written to `folder`, which is made."""
    import matplotlib

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
    written = [folder / "transfer.json"]
    written[0].write_text(json.dumps(transfer_json(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with matplotlib.rc_context(STYLE):
        written += save_figure(transfer_figure(result), folder, FIGURE, kinds=("png", "svg"))
    return tuple(written)
