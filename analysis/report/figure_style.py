"""How figures look: colours, type, dots, and the names printed in them."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.laws import Floats
from analysis.report.axis_ticks import Ticks
from analysis.tables.points import PointSet, clean_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

PALETTE = ("#3b1f6b", "#2f62b5", "#1f9e9a", "#6aae3a", "#e39b16", "#d1495b", "#8c5a3c", "#555555")
"""By rising size. Lightness varies along with hue, so the curves stay apart for colour-blind readers and in grey."""
INK, FAINT, BLUE, RED, ORANGE = "#222222", "#8a8a8a", "#2f62b5", "#d1495b", "#c8730b"
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
FOOTER_POINTS = 7.5
_FOOTER_CHARACTERS_PER_INCH = 14.5
_SYMBOLS = {"alpha": "α", "beta": "β", "eta": "η"}
_LIGHTEST = 0.88
"""Of viridis, beyond which it is too pale on white."""
_RASTER_ABOVE = 2_000
"""Dots beyond which a vector file holds them as a picture."""
_MOST_DOTS = 50_000
"""Dots drawn at most: beyond, they lie on one another."""


@functools.cache
def _drawable(character: str) -> bool:
    from matplotlib import font_manager

    fonts: Any = font_manager
    return bool(fonts.get_font(fonts.findfont("DejaVu Sans")).get_char_index(ord(character)))


def plain_text(text: str, *, most: int = 40) -> str:
    """Returns a stranger's words as a figure can print them: one line, no mathtext, no missing glyphs, not too long."""
    cleaned = clean_name(text)
    if len(cleaned) > most:
        cleaned = f"{cleaned[: most - 12]}…{cleaned[-11:]}"
    drawn = "".join(c if _drawable(c) else "\N{WHITE SQUARE}" for c in cleaned)
    return drawn.replace("$", r"\$")


def model_title(name: str) -> str:
    """Returns a model's name as papers write it: f3p is F3+."""
    short = len(name) <= 3 and name[:1].lower() == "f" and name[1:2].isdigit()
    return name.upper().replace("P", "+") if short else plain_text(name, most=28)


def source_title(points: PointSet) -> str:
    """Returns what was read, for a figure's title: the study, or the table's name without its ending."""
    return plain_text(points.study or Path(points.source).stem)


def symbol(parameter: str) -> str:
    """Returns a parameter's name as papers write it: alpha is α."""
    return _SYMBOLS.get(parameter, parameter)


def number_text(value: float) -> str:
    """Returns a number of three digits with a real minus sign: 0.347, 2140, 3.1e8."""
    text = f"{value:.3g}"
    if "e" in text:
        text = (
            f"{value:.0f}"
            if 1 <= abs(value) < 1e5
            else text.replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
        )
    return text.replace("-", "−")


def data_label(points: PointSet, *, has_tokens: bool) -> str:
    """Returns what data are counted in."""
    return points.data_unit if has_tokens else "epochs"


@dataclass(frozen=True, kw_only=True)
class ColourScale:
    """Colours from dark to light by the logarithm of a number."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> "ColourScale":
        """Returns the scale on which `values`, all above zero, span all colours."""
        return cls(low=float(values.min()), high=float(values.max()))

    @property
    def norm(self) -> "LogNorm":
        """Matplotlib's name for it."""
        from matplotlib.colors import LogNorm

        # One value alone still needs a range.
        return LogNorm(self.low, max(self.high, 1.02 * self.low))

    def colours(self, values: Floats) -> Floats:
        """Returns (n, 4) RGBA."""
        return np.asarray(_map()(np.asarray(self.norm(values))), dtype=np.float64)

    def draw_bar(self, figure: "Figure", beside: "Axes | Sequence[Axes]", label: str, ticks: Ticks) -> None:
        """Draws the scale beside some axes, unless it has no extent."""
        from matplotlib.cm import ScalarMappable

        if self.high < 1.02 * self.low:
            return
        axes: Any = beside if not isinstance(beside, Sequence) else list(beside)
        bar = figure.colorbar(ScalarMappable(self.norm, _map()), ax=axes, fraction=0.035, pad=0.015, aspect=32)
        bar.set_ticks(ticks[0], labels=ticks[1])
        bar.minorticks_off()
        bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        bar.ax.tick_params(length=0, labelsize=8)
        bar.set_label(label, fontsize=8.5)


@functools.cache
def _map() -> Any:
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"](np.linspace(0.0, _LIGHTEST, 256)))


def thinned(count: int) -> list[int]:
    """Returns the indices of the dots to draw, evenly chosen where there are too many."""
    if count <= _MOST_DOTS:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, _MOST_DOTS)]


def is_raster(count: int) -> bool:
    """Returns whether so many dots become a picture within a vector file."""
    return count > _RASTER_ABOVE


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Returns heights near the wanted ones, in their order, each at least `gap` from the next."""
    order = np.argsort(np.asarray(wanted), kind="stable")
    groups: list[list[int]] = []
    centres: list[float] = []
    for i in order:
        groups.append([int(i)])
        centres.append(wanted[int(i)])
        # Blocks that touch become one, centred on what its members want.
        while len(groups) > 1 and centres[-1] - centres[-2] < gap * (len(groups[-1]) + len(groups[-2])) / 2:
            merged = groups[-2] + groups[-1]
            groups[-2:] = [merged]
            centres[-2:] = [float(np.mean([wanted[k] for k in merged]))]
    placed = [0.0] * len(wanted)
    for members, centre in zip(groups, centres, strict=True):
        for k, i in enumerate(members):
            placed[i] = centre + (k - (len(members) - 1) / 2) * gap
    return placed


def tidy(axes: "Axes") -> None:
    """Draws a quiet grid and takes the upper and right frame away."""
    axes.grid(which="major", color="#e6e6e6", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def footer_text(*parts: str, width_in: float = 8.4) -> str:
    """Returns the parts in lines that a figure so wide can hold."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) <= _FOOTER_CHARACTERS_PER_INCH * width_in:
            lines[-1] += f"  ·  {part}"
        else:
            lines.append(part)
    return "\n".join(lines)


def new_figure(width_in: float, height_in: float, title: str, *footer: str) -> "Figure":
    """Returns an empty figure with its title and, below it, how to read its marks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    words = footer_text(*footer, width_in=width_in)
    figure.supxlabel(words, fontsize=FOOTER_POINTS, color=FAINT, x=0.01, ha="left", linespacing=1.5)
    return figure
