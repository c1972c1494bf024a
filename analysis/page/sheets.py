"""The page's plain tables: law, picks, costs, what is doubtful, and where everything comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.report.axis_ticks import count_text
from analysis.report.figure_style import number_text
from analysis.result import Fit, Pick, ScalingFit
from analysis.tables.costs import PARTS, cost_ratios
from analysis.tables.points import PointSet
from sweeps.budget import format_core_hours

MISSING = "\N{EN DASH}"
_MOST_CELLS = 300
"""Cells that a table can hold for a reader."""
_PARTS = {
    "compile": "compiling", "input_wait": "waiting for input", "step": "steps", "evaluation": "evaluation",
    "checkpoint": "checkpoints", "lost": "lost",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Head:
    """A column's heading."""

    name: str
    is_text: bool = False


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table of words."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[str, ...], ...]


def text_of(value: float | None) -> str:
    """Returns a number of three or four digits, or a dash where it is missing."""
    return MISSING if value is None else number_text(value) if abs(value) >= 1e5 else f"{value:.4g}"


def compute_text(value: float | None, axis: str) -> str:
    """Returns compute on an axis of a fit, as people say it."""
    if value is None:
        return MISSING
    return format_core_hours(value) if axis == "core_hours" else f"{value:.3g}"


def interval_text(low: float | None, high: float | None) -> str:
    """Returns `low to high`, or a dash where either is missing."""
    return MISSING if low is None or high is None else f"{text_of(low)} to {text_of(high)}"


def law_sheet(fit: Fit) -> Sheet:
    """Returns the parameters of the law."""
    pinned = {prior.parameter for prior in fit.priors if prior.sd == 0}
    rows = [
        (
            name,
            f"{estimate.value:.5g}",
            "pinned" if name in pinned else interval_text(estimate.low, estimate.high),
            text_of(estimate.stderr),
        )
        for name, estimate in fit.parameters.items()
    ]
    return _sheet(
        f"{fit.law.formula}, fitted on: {fit.fitted_on}",
        ("parameter*", "value", f"{fit.level:.0%} interval", "standard error"),
        rows,
    )


def picks_sheet(result: ScalingFit, titles: Mapping[str, str]) -> Sheet:
    """Returns the best configuration for each budget, or why there is none."""
    unit, level = result.compute_unit, f"{result.fit.level:.0%}"
    heads = (
        "budget", "model*", "params", "epochs", "peak lr", "loss", "of one run", "of the law", "beyond", "sure",
        "best so far", "remark*",
    )  # fmt: skip
    title = (
        f"Compute-optimal configuration by budget [{unit}]: predicted loss with the {level} intervals of a run and of "
        "the law, how far beyond the runs, in which part of resamples the model is the same, the best cell so far"
    )
    return _sheet(title, heads, [_pick_row(result, pick, titles) for pick in result.picks])


def _pick_row(result: ScalingFit, pick: Pick, titles: Mapping[str, str]) -> tuple[str, ...]:
    best = pick.best_measured
    remarks = [
        *(["refused: " + pick.refused.reason] if pick.refused else []),
        *(["longest run of its size"] if pick.is_at_epoch_cap else []),
        *([f"interval widened {pick.widened_by:.2g}-fold by the back-test"] if pick.widened_by > 1 else []),
    ]
    return (
        compute_text(pick.budget, result.fit.axis),
        titles.get(pick.model, pick.model) if pick.model else MISSING,
        MISSING if pick.params is None else count_text(pick.params),
        text_of(pick.epochs),
        text_of(pick.peak_lr),
        text_of(pick.predicted_loss),
        interval_text(pick.low, pick.high),
        interval_text(pick.law_low, pick.law_high),
        f"{pick.extrapolation_factor:.3g}\N{MULTIPLICATION SIGN}" if pick.extrapolation_factor > 1 else "no",
        MISSING if pick.support is None else f"{pick.support:.0%}",
        MISSING if best is None else f"{best.loss:.4g}",
        "; ".join(remarks),
    )


def cells_sheet(result: ScalingFit, titles: Mapping[str, str]) -> Sheet | None:
    """Returns the cells at their best learning rates, for readers who do not see the charts; None where too many."""
    if len(result.cells) > _MOST_CELLS:
        return None
    frontier = {id(cell) for cell in result.frontier}
    rows = [
        (
            titles.get(cell.model, cell.model),
            text_of(cell.epochs),
            text_of(cell.best.peak_lr),
            f"{cell.loss:.4g}",
            text_of(cell.seed_sd),
            str(len(cell.best.losses)),
            compute_text(cell.core_hours, "core_hours"),
            compute_text(cell.flops, "flops"),
            "yes" if id(cell) in frontier else "",
        )
        for cell in result.cells
    ]
    heads = (
        "model*", "epochs", "peak lr", "loss", "sd over seeds", "seeds", "core-hours", "FLOPs", "beats cheaper cells*"
    )  # fmt: skip
    return _sheet("Every cell at its best learning rate", heads, rows)


def costs_sheet(result: ScalingFit, titles: Mapping[str, str]) -> Sheet | None:
    """Returns predicted against billed core-hours by model; None where no run kept a clock."""
    costs, scale = result.points.costs, result.flops_per_core_hour
    if not costs:
        return None
    ratios = cost_ratios(costs, is_relative=scale is not None)
    rows = [
        (
            titles.get(row.model, row.model),
            str(row.runs),
            format_core_hours(row.predicted_core_hours),
            format_core_hours(row.billed_core_hours),
            text_of(ratio),
            *(f"{row.shares[part]:.1%}" for part in PARTS),
        )
        for row, ratio in zip(costs, ratios, strict=True)
    ]
    unit = f"predicted at {scale:.3g} FLOPs, billed in this machine's own: the ratio compares shares" if scale else ""
    heads = ("model*", "runs", "predicted", "billed", "billed / predicted", *(_PARTS[part] for part in PARTS))
    return _sheet(f"Core-hours predicted and billed{': ' + unit if unit else ''}", heads, rows)


def doubtful_sheet(points: PointSet) -> Sheet:
    """Returns what is known to be wrong with runs, and what no fit uses."""
    rows = [(str(item.count), "tainted", item.reason, f"counts {points.tainted_weight:g}") for item in points.taints]
    rows += [(str(item.count), "set aside", item.reason, "not used") for item in points.set_aside]
    return _sheet("Runs that a fit trusts less, or not at all", ("runs", "what*", "why*", "in the fit*"), rows)


def facts_sheet(title: str, facts: Sequence[tuple[str, str]]) -> Sheet:
    """Returns names and values."""
    return _sheet(title, ("what*", "value*"), facts)


def _sheet(title: str, heads: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Sheet:
    """Returns a sheet; headings that end in * are of words, the others of numbers."""
    return Sheet(
        title=title,
        heads=tuple(Head(name=head.rstrip("*"), is_text=head.endswith("*")) for head in heads),
        rows=tuple(rows),
    )
