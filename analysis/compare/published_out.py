"""The published comparison as JSON, on the terminal and as a figure."""

# Every keyword argument of matplotlib is untyped.
# pyright: reportUnknownMemberType=false

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.compare.published_families import CANNOT_SAY, CONVNETS, UNITS, Published, Rivalry
from analysis.compare.verdict import factor_text
from analysis.report.axis_ticks import factor_ticks, set_ticks
from analysis.report.figure_style import BLUE, FAINT, INK, ORANGE, STYLE, new_figure, tidy
from analysis.report.figures import save_figure
from analysis.report.report_text import WIDTH
from analysis.transfer.published import SOURCE
from sweeps.budget import format_core_hours
from sweeps.errors import StudyError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "published_families"


def published_json(result: Published) -> dict[str, Any]:
    """Returns the object of the published comparison: the keys of any comparison, and what cannot be said."""
    in_hours = [one for one in result.rivalries if one.axis == "core_hours"]
    return {
        "source": SOURCE,
        "verdict": result.verdict,
        "level": result.level,
        "gap": [_row(one, one.spent, one.gap.value, one.gap.low, one.gap.high) for one in in_hours],
        "compute_multiplier": [
            _row(one, one.needed, one.multiplier.value, one.multiplier.low, one.multiplier.high) for one in in_hours
        ],
        "by_axis": [_rivalry(one) for one in result.rivalries],
        "yardstick": [_rivalry(one) for one in result.yardsticks],
        "cannot_say": list(CANNOT_SAY),
        "refused": None,
    }


def _row(one: Rivalry, budget: float, value: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"a": CONVNETS, "b": one.b, "budget_core_hours": budget, "value": value, "low": low, "high": high}


def _rivalry(one: Rivalry) -> dict[str, Any]:
    return {
        "a": CONVNETS,
        "b": one.b,
        "axis": one.axis,
        "unit": UNITS[one.axis],
        "top1_error_percent": one.error,
        "spent": one.spent,
        "needed": one.needed,
        "multiplier": one.multiplier.value,
        "low": one.multiplier.low,
        "high": one.multiplier.high,
        "multiplier_by_law": dict(one.by_form),
        "multiplier_at_published_width": one.other_width,
        "extrapolation_factor": one.extrapolation_factor,
    }


def print_published(result: Published, *, console: Console | None = None) -> None:
    """Prints the verdict, the table behind it, how far an NFNet lies off its own law, and what cannot be said."""
    console = console or Console(width=WIDTH, highlight=False)
    console.print(Text(f"{SOURCE}: NFNets and vision transformers at equal error", style="bold"))
    console.print(Text(f"{result.verdict[:1].upper()}{result.verdict[1:]}."))
    console.print()
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("", "error", "in", "took", "NFNets need", "multiplier", "by form of law"):
        table.add_column(heading, justify="left" if heading in ("", "in") else "right", no_wrap=True)
    for one in (*result.rivalries, *result.yardsticks):
        forms = " to ".join(f"{ratio:.2f}" for ratio in sorted(one.by_form.values()))
        table.add_row(
            one.b, f"{one.error:g} %", "hours" if one.axis == "core_hours" else one.axis, _amount(one, one.spent),
            _amount(one, one.needed), factor_text(one.multiplier), forms,
        )  # fmt: skip
    console.print(table)
    console.print()
    yardstick = result.yardsticks[0]
    console.print(
        Text(
            f"By the same measure {yardstick.b}, an NFNet, took {factor_text(yardstick.multiplier)} times what the law "
            "of its own family needs: a single run lies so far off."
        )
    )
    console.print(Text(f"{result.level:.0%} intervals. What this cannot say:"))
    for line in CANNOT_SAY:
        console.print(Text(f"  {line}", style="dim"))


def _amount(one: Rivalry, amount: float) -> str:
    return format_core_hours(float(f"{amount:.3g}")) if one.axis == "core_hours" else f"{amount:.3g}"


def published_figure(result: Published) -> "Figure":
    """Returns every multiplier with its interval, in core-hours and in FLOPs, the dearest NFNet's own beside them."""
    rows = [*result.rivalries, *result.yardsticks]
    title = "Pre-training compute over what NFNets need for the same ImageNet error"
    words = (f"bars: {result.level:.0%} intervals", "dots between: each form of the law alone", SOURCE)
    figure = new_figure(8.4, 1.6 + 0.36 * len(rows), title, *words)
    axes = figure.subplots()
    axes.set_xscale("log")
    for y, one in enumerate(rows):
        colour = FAINT if one in result.yardsticks else BLUE if one.axis == "core_hours" else ORANGE
        ends = one.multiplier.low or one.multiplier.value, one.multiplier.high or one.multiplier.value
        axes.plot(ends, (y, y), color=colour, linewidth=2.4, alpha=0.6, zorder=3)
        axes.scatter([one.multiplier.value], [y], s=40, color=colour, zorder=5)
        axes.scatter(list(one.by_form.values()), [y] * len(one.by_form), s=9, color=INK, zorder=4)
    axes.axvline(1.0, color=INK, linewidth=0.9, zorder=2)
    axes.set_yticks(range(len(rows)), [f"{one.b}, {UNITS[one.axis]}" for one in rows])
    axes.invert_yaxis()
    set_ticks(axes, "x", *factor_ticks(*axes.get_xlim()))
    tidy(axes)
    axes.set_xlabel("multiplier")
    return figure


def write_published(result: Published, folder: Path) -> tuple[Path, ...]:
    """Returns compare.json and the figure, written to `folder`, which is made."""
    import matplotlib

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"cannot write to {folder}: {error.strerror}; choose another folder with --out DIR") from error
    written = [folder / "compare.json"]
    written[0].write_text(json.dumps(published_json(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with matplotlib.rc_context(STYLE):
        written += save_figure(published_figure(result), folder, FIGURE, kinds=("png", "svg"))
    return tuple(written)
