"""What a reader must know before believing a fit."""

import math
from collections.abc import Iterator

from analysis.estimators.best_rate import Cell
from analysis.refusal import Refusal
from analysis.result import Notice, ScalingFit
from analysis.tables.points import PointSet
from analysis.trust.sensitivity import outliers
from sweeps.budget import format_core_hours
from sweeps.certificate import NO_CERTIFICATE

_ENTANGLED = 0.999
"""Correlation of two parameters at which the data do not tell them apart."""
_NARROW_DECADES = 0.5
"""Spread of D/N below which a surface rests on its form alone."""
_BAD_COVERAGE = 0.7
_TAINTS_NAMED = 3
_POOR_FIT = 0.03
"""Scatter of log loss beyond which seeds are no excuse."""


def notices_of(result: ScalingFit) -> tuple[Notice, ...]:
    """Returns every warning that applies, gravest first."""
    return (
        *_of_rates(result), *_of_floor(result), *_of_caps(result), *_of_trust(result), *_of_estimators(result),
        *_of_data(result), *_of_intervals(result),
    )  # fmt: skip


def no_surface(refusal: Refusal) -> Notice:
    """Returns the notice that a law of compute stands in for a surface that the runs do not carry."""
    return Notice(
        code="no_surface",
        text=f"no law of size and data ({refusal.reason}; {refusal.next}): this is the law of compute",
    )


def _of_rates(result: ScalingFit) -> Iterator[Notice]:
    frontier = {id(cell) for cell in result.frontier}
    for edge, word, factor in (("high", "highest", 2.0), ("low", "lowest", 0.5)):
        cells = [cell for cell in result.cells if cell.edge == edge]
        if not cells:
            continue
        names = ", ".join(_cell_name(cell) for cell in cells[:6]) + (" ..." if len(cells) > 6 else "")
        on = sum(id(cell) in frontier for cell in cells)
        rates = [cell.best.peak_lr for cell in cells if cell.best.peak_lr is not None]
        wanted = factor * (max(rates) if edge == "high" else min(rates))
        next_step = (
            f"add an octave: make sweep BUDGET={_largest_budget(result)} STUDY={result.points.study} "
            f"EXTRA='study.peak_lrs={_with(result, wanted)}'"
            if result.points.study and result.fit.axis == "core_hours"
            else f"add runs at peak_lr={wanted:g}"
        )
        yield Notice(
            code="edge_of_grid",
            text=f"the best learning rate is the {word} one tried in {len(cells)} cells ({names}), {on} of them on the "
            f"frontier: their optimum is censored; {next_step}",
        )
    single = sum(cell.edge == "single" for cell in result.cells)
    if single:
        yield Notice(
            code="single_rate",
            text=f"{single} cells were run at one learning rate only: nothing says that it is their best",
        )


def _largest_budget(result: ScalingFit) -> str:
    return format_core_hours(max(result.points.budgets_core_hours, default=result.fit.sampled[1]))


def _with(result: ScalingFit, wanted: float) -> str:
    rates = {rate.peak_lr for cell in result.cells for rate in cell.tried if rate.peak_lr is not None}
    return "[" + ",".join(f"{rate:g}" for rate in sorted({*rates, wanted})) + "]"


def _cell_name(cell: Cell) -> str:
    return cell.model if cell.epochs is None else f"{cell.model} x {cell.epochs:g}"


def _of_floor(result: ScalingFit) -> Iterator[Notice]:
    floor = result.fit.parameters.get("E")
    if floor is None:
        return
    least = min(cell.loss for cell in result.cells)
    low = floor.value if floor.low is None else floor.low
    high = floor.value if floor.high is None else floor.high
    if low <= 0.02 * least or high >= 0.98 * least:
        touched = "zero" if low <= 0.02 * least else f"the least loss measured ({least:.4g})"
        yield Notice(
            code="floor_not_identified",
            text=f"the floor E = {floor.value:.4g} is not identified: its interval ({low:.4g} to {high:.4g}) reaches "
            f"{touched}; the data cannot tell a floor from none",
        )


def _of_caps(result: ScalingFit) -> Iterator[Notice]:
    forced = [c.hand_over for c in result.crossings if c.hand_over.is_forced_by_cap]
    if forced:
        first = min(forced, key=lambda at: at.compute)
        unit = result.compute_unit
        shown = format_core_hours(first.compute) if unit == "core-hours" else f"{first.compute:.3g}"
        yield Notice(
            code="epoch_cap",
            text=f"from {shown} {unit} on, a size changes because {first.before} was not run for longer: above that "
            "the envelope is a bound set by the epoch cap",
        )


def _of_trust(result: ScalingFit) -> Iterator[Notice]:
    trust, fit = result.trust, result.fit
    known = trust.identifiability
    if known and known.data_per_param_decades is not None and known.data_per_param_decades < _NARROW_DECADES:
        yield Notice(
            code="narrow_design",
            text=f"D/N varies by a factor of {10**known.data_per_param_decades:.3g} only: size and data are told apart "
            "by the form of the law more than by the runs; add runs of one size with other amounts of data",
        )
    if known and known.most_correlated and abs(known.most_correlated[2]) > _ENTANGLED:
        one, other, value = known.most_correlated
        yield Notice(
            code="entangled",
            text=f"{one} and {other} are correlated to {value:.4f}: each by itself is hardly known, their law is",
        )
    if not fit.law.fits_frontier and fit.residual_sd > _POOR_FIT:
        yield Notice(
            code="poor_fit",
            text=f"{fit.law.formula} misses the runs by {fit.residual_sd:.1%} (standard deviation): its form does not "
            "describe them; look at the rival forms and at the isoFLOP minima",
        )
    away = outliers(fit.residuals)
    if away.any() and len(fit.residuals) > 10:
        share = float(abs(fit.residuals[away]).max())
        yield Notice(
            code="outliers",
            text=f"{int(away.sum())} of {len(away)} rows lie more than 5 robust standard deviations from the law (the "
            f"farthest by {share:.1%}); they are fitted like the others, and what changes without them is shown",
        )
    best = next((form for form in trust.forms if form.held_out_rms is not None), None)
    own = next((form for form in trust.forms if form.is_fitted), None)
    if best and own and own.held_out_rms and best.held_out_rms and own.held_out_rms > 1.5 * best.held_out_rms + 1e-4:
        yield Notice(
            code="another_form_predicts_better",
            text=f"{best.name} predicts held-out runs better ({best.held_out_rms:.2%} rms against "
            f"{own.held_out_rms:.2%})",
        )
    bad = [
        b for b in (trust.backtest.bins if trust.backtest else ()) if b.coverage < _BAD_COVERAGE and b.predictions >= 5
    ]
    if bad:
        worst = min(bad, key=lambda b: b.coverage)
        yield Notice(
            code="backtest_misses",
            text=f"in the back-test only {worst.coverage:.0%} of the runs {worst.low:g} x or more beyond a cut lay "
            f"within their {fit.level:.0%} prediction interval (rms error {worst.rms_error:.2%}): prediction intervals "
            "beyond the runs are widened to what would have held",
        )


def _of_estimators(result: ScalingFit) -> Iterator[Notice]:
    known = [a for a in result.allocations if a.exponent_params and a.approach in ("isoflop", "surface")]
    if len(known) == 2:
        (one, other) = (a.exponent_params for a in known)
        assert one is not None and other is not None
        bounds = (one.low, one.high, other.low, other.high)
        if None not in bounds and ((one.low or 0) > (other.high or 0) or (other.low or 0) > (one.high or 0)):
            yield Notice(
                code="estimators_disagree",
                text=f"the best size grows as C^{one.value:.3f} by the isoFLOP minima and as C^{other.value:.3f} by "
                "the surface, and their intervals do not meet: one of the two does not describe these runs",
            )
    edges = [b for b in (result.isoflop.budgets if result.isoflop else ()) if b.refused == "edge_minimum"]
    if edges:
        yield Notice(
            code="edge_minimum",
            text=f"{len(edges)} budgets have their least loss at the smallest or largest size run; their optimum was "
            "not seen and is not used",
        )


def _of_data(result: ScalingFit) -> Iterator[Notice]:
    points = result.points
    if points.tainted:
        yield Notice(code="tainted", text=_tainted(points))
    if points.derived:
        text = f"{', '.join(points.derived)} computed from the other two by C = 6 N D where missing (arXiv:2001.08361)"
        yield Notice(code="tokens_derived" if "tokens" in points.derived else "derived_by_rule", text=text)
    has_choice = any(len(cell.tried) > 1 for cell in result.cells)
    if has_choice and any(p.selection_loss is None for p in points.points):
        yield Notice(
            code="chosen_on_reported_loss",
            text="some runs have no selection loss: their learning rate was chosen on the loss that is reported, "
            "which flatters it",
        )
    if len(points.code_versions) > 1:
        versions = ", ".join(points.code_versions[:6])
        text = f"the runs come from {len(points.code_versions)} code versions: {versions}"
        yield Notice(code="mixed_code", text=text)


def _tainted(points: PointSet) -> str:
    taints = points.taints
    reasons = "; ".join(f"{item.count}: {_taint(item.reason)}" for item in taints[:_TAINTS_NAMED])
    if len(taints) > _TAINTS_NAMED:
        reasons += f"; {sum(item.count for item in taints[_TAINTS_NAMED:])} for other reasons"
    if points.tainted == len(points.points):
        weight = "as there are no others, all weigh the same"
    else:
        weight = f"in every fit they weigh {points.tainted_weight:g} of the others, and means over seeds leave them out"
    return f"{points.tainted} of {len(points.points)} runs are tainted ({reasons}): {weight}"


def _taint(reason: str) -> str:
    return f"{reason}, as none from before certificates existed" if reason == NO_CERTIFICATE else reason


def _of_intervals(result: ScalingFit) -> Iterator[Notice]:
    fit = result.fit
    if fit.interval_method == "cells" and fit.law.fits_frontier:
        yield Notice(
            code="cells_resampled",
            text="no repeated seeds: the intervals come from leaving cells out by chance; they show how much the law "
            "leans on single cells, not the noise of a run",
        )
    if fit.interval_method == "seeds" and result.noise.seeds < 3:
        yield Notice(code="few_seeds", text="two seeds a cell: the noise itself is known to a factor of two at best")
    if fit.failed_resamples > 0.05 * max(1, fit.resamples):
        yield Notice(
            code="resamples_failed",
            text=f"{fit.failed_resamples} of {fit.resamples} resamples gave no fit and are left out of the intervals",
        )
    if math.log10(fit.sampled[1] / fit.sampled[0]) < 1.0:
        yield Notice(code="short_range", text="the cells span less than a factor of 10 in compute: the law is local")
    if fit.slopes and abs(fit.slopes[0] - fit.slopes[1]) > 0.25 * abs(sum(fit.slopes) / 2):
        yield Notice(
            code="not_straight",
            text=f"the envelope bends: slope {fit.slopes[0]:.3f} in its cheap half, {fit.slopes[1]:.3f} in the other",
        )
