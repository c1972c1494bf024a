"""The files of a transfer fit: transfer.json, and the figure where it can be drawn."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import json
from pathlib import Path
from typing import Any

from analysis.report.figure_style import STYLE
from analysis.transfer.transfer_figure import transfer_figure
from analysis.transfer.transfer_fit import TransferFit
from analysis.transfer.transfer_json import transfer_json
from sweeps.errors import StudyError

FIGURE = "error_vs_compute"
_KINDS: tuple[tuple[str, dict[str, Any]], ...] = (("png", {"Software": None}), ("svg", {"Date": None}))
"""Ending and metadata: without dates, so that the same fit writes the same bytes."""
_DPI = 180


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
        figure = transfer_figure(result)
        for kind, metadata in _KINDS:
            path = folder / f"{FIGURE}.{kind}"
            if figure is None:
                path.unlink(missing_ok=True)  # an earlier fit's would pass for this one's
                continue
            figure.savefig(path, dpi=_DPI, metadata=metadata, facecolor="white")
            written.append(path)
            figure.set_layout_engine("none")  # laid out by the first file; the other need not do it again
    return tuple(written)
