"""How figures look: colours, type, and the names printed in them."""

from pathlib import Path
from typing import Any

from analysis.tables.points import PointSet

PALETTE = ("#3b1f6b", "#2f62b5", "#1f9e9a", "#6aae3a", "#e39b16", "#d1495b", "#8c5a3c", "#555555")
"""By rising size. Lightness varies along with hue, so the curves stay apart for colour-blind readers and in grey."""
INK, FAINT = "#222222", "#8a8a8a"
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11.5,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "svg.fonttype": "path",
    "svg.hashsalt": "loglog",
}


def model_title(name: str) -> str:
    """Returns a model's name as papers write it: f3p is F3+."""
    short = len(name) <= 3 and name[:1].lower() == "f" and name[1:2].isdigit()
    return name.upper().replace("P", "+") if short else name


def source_title(points: PointSet) -> str:
    """Returns what was read, for a figure's title: the study, or the table's name without its ending."""
    return points.study or Path(points.source).stem
