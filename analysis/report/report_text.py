"""The report on the terminal: tables that fit a hundred columns."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from analysis.estimators.rate_law import RateLaw
from analysis.report.narrow_table import WIDEST, Sheet, printing_console
from analysis.report.trust_text import add_heading, allocation_table, trust_tables
from analysis.result import Pick, ScalingFit
from analysis.tables.costs import cost_ratios
from analysis.tables.judged import calibration
from sweeps.budget import format_core_hours

WIDTH = WIDEST
_FRONTIER_ROWS = 24
_TAINTED = " ?"
"""After a loss that only tainted runs say, beside others that untainted ones do."""
_PARTS_IN_WORDS = {
    "compile": "compile",
    "input_wait": "input",
    "step": "steps",
    "evaluation": "eval",
    "checkpoint": "save",
    "lost": "lost",
}

_METHODS = {
    "seeds": "seeds drawn anew within cells, rates and frontier chosen again",
    "cells": "cells drawn anew, frontier derived again",
    "residuals": "residuals drawn anew; standard errors from runs drawn anew",
    "linearised": "normal draws about the fit: so many rows that resampling would say the same",
    "none": "none",
}


def print_report(result: ScalingFit, written: Sequence[Path] = (), *, console: Console | None = None) -> None:
    """Prints law, picks, hand-overs, frontier, what was set aside and every warning."""
    console = console or printing_console()
    head = f"{result.points.source}: {result.fit.law.formula}  [C in {result.compute_unit}]"
    console.print(Text(head, style="bold"))
    law_table(result).print_on(console)
    for line in basis_lines(result):
        console.print(Text(line, style="dim"))
    tables = (
        picks_table(result), targets_table(result), allocation_table(result), hand_over_table(result),
        *trust_tables(result), frontier_table(result), cost_table(result),
    )  # fmt: skip
    for table in tables:
        if table is not None:
            console.print()
            table.print_on(console)
    console.print()
    for line in closing_lines(result, written):
        console.print(line)


def law_table(result: ScalingFit) -> Sheet:
    """Returns the parameters of the law with their intervals."""
    table = _table(None)
    for heading in ("", "value", f"{result.fit.level:.0%} interval", "se"):
        add_heading(table, heading, words=("",))
    pinned = {prior.parameter for prior in result.fit.priors if prior.sd == 0}
    for name, estimate in result.fit.parameters.items():
        bounds = "-" if estimate.low is None or estimate.high is None else f"{estimate.low:.4g} to {estimate.high:.4g}"
        if name in pinned:
            bounds = "pinned"
        table.add_row(name, f"{estimate.value:.5g}", bounds, _number(estimate.stderr, 3))
    return table


def basis_lines(result: ScalingFit) -> list[str]:
    """Returns what the law rests on: cells, r2, noise, resamples, scale."""
    fit = result.fit
    low, high = (_compute(result, value) for value in fit.sampled)
    lines = [
        f"fitted on: {fit.fitted_on}; {len(result.cells)} cells ({len(result.frontier)} on the frontier), "
        f"{low} to {high} {result.compute_unit}",
        f"r2: {fit.r2:.4f} over the measured frontier"
        + (f", {fit.r2_envelope:.4f} over the envelope" if fit.r2_envelope is not None else "")
        + _noise(result),
        f"intervals: {fit.resamples} resamples; {_METHODS[fit.interval_method]}",
    ]
    if result.rates is not None:
        lines.append(result.rates.sentence)
    if result.rate_law is not None:
        lines.append(_rate_law(result.rate_law))
    if result.downstream is not None:
        d = result.downstream
        lines.append(
            f"error = {d.epsilon:.4g} - {d.k:.4g} exp(-{d.gamma:.4g} L) over {d.cells} cells, +- {d.residual_sd:.3g}"
        )
    if (foresight := calibration(result.points.judged)) is not None:
        lines.append(foresight.sentence)
    return [*lines, _scale(result)] if result.flops_per_core_hour else lines


def _rate_law(law: RateLaw) -> str:
    (p_low, p_high), (q_low, q_high) = law.exponent_params_interval, law.exponent_data_interval
    return (
        f"best peak lr = {law.coefficient:.3g} N^{law.exponent_params:.3f} ({p_low:.3f} to {p_high:.3f}) "
        f"D^{law.exponent_data:.3f} ({q_low:.3f} to {q_high:.3f}), {law.cells} cells, {law.censored} censored"
    )


def _noise(result: ScalingFit) -> str:
    sd = result.noise.relative_sd
    if sd is None:
        return "; one seed"
    return f"; seed noise {sd:.2%} ({result.noise.seeds} seeds)"


def _scale(result: ScalingFit) -> str:
    return f"scale model, 1 core-hour = {result.flops_per_core_hour:.4g} FLOPs"


def picks_table(result: ScalingFit) -> Sheet:
    """Returns the best configuration for each budget, or why there is none."""
    table = _table("what to train")
    names = result.points.has_models and result.fit.law.fits_frontier
    headings = (
        "budget",
        "model",
        "epochs",
        "peak lr",
        "loss",
        f"{result.fit.level:.0%} interval",
        "beyond",
        "sure",
        "",
    )
    if not names:
        headings = ("budget", "params", "interval", "data", "loss", f"{result.fit.level:.0%} interval", "beyond", "")
    for heading in headings:
        add_heading(table, heading, words=("model", ""))
    for pick in result.picks:
        table.add_row(*_pick_row(result, pick, names=names))
    return table


def _pick_row(result: ScalingFit, pick: Pick, *, names: bool) -> tuple[str, ...]:
    bounds = "-" if pick.low is None or pick.high is None else f"{pick.low:.4g} to {pick.high:.4g}"
    beyond = "-" if pick.extrapolation_factor <= 1 else f"{pick.extrapolation_factor:.3g} x"
    note = "refused" if pick.refused else "longest run of its size" if pick.is_at_epoch_cap else ""
    if pick.widened_by > 1:
        note = f"{note + ', ' if note else ''}interval x {pick.widened_by:.2g}"
    budget, loss = _compute(result, pick.budget), _number(pick.predicted_loss)
    if not names:
        sizes = "-" if pick.params_interval is None else " to ".join(f"{x:.2g}" for x in pick.params_interval)
        data = _number(pick.tokens or pick.epochs, 3)
        return budget, _number(pick.params, 3), sizes, data, loss, bounds, beyond, note
    sure = "-" if pick.support is None else f"{pick.support:.0%}"
    return (
        budget, pick.model or "-", _number(pick.epochs, 3), _number(pick.peak_lr), loss, bounds, beyond, sure, note,
    )  # fmt: skip


def targets_table(result: ScalingFit) -> Sheet | None:
    """Returns the compute that reaches each loss asked for, or None when none was."""
    if not result.targets:
        return None
    table = _table(f"compute to reach a loss  [{result.compute_unit}]")
    for heading in ("loss", "compute", f"{result.fit.level:.0%} interval", "beyond", ""):
        add_heading(table, heading, words=("",))
    for target in result.targets:
        low, high = ("no end" if x is None else _compute(result, x) for x in (target.low, target.high))
        compute = "-" if target.compute is None else _compute(result, target.compute)
        beyond = "-" if (target.extrapolation_factor or 1.0) <= 1 else f"{target.extrapolation_factor:.3g} x"
        note = target.refused.reason if target.refused else f"never in {target.never:.0%}" if target.never else ""
        table.add_row(_number(target.loss), compute, f"{low} to {high}", beyond, note)
    return table


def hand_over_table(result: ScalingFit) -> Sheet | None:
    """Returns where the best size changes, or None when it never does."""
    if not result.crossings:
        return None
    table = _table(f"where the best size changes  [{result.compute_unit}]")
    for heading in ("at", f"{result.fit.level:.0%} interval", "from", "to", "seen in", ""):
        add_heading(table, heading, words=("from", "to", ""))
    for crossing in result.crossings:
        at = crossing.hand_over
        notes: list[str] = []
        if at.is_first_cell:
            notes.append(f"{at.after} has no cheaper cell")
        if at.is_forced_by_cap:
            notes.append(f"{at.before} has no longer run")
        elif at.cut_off:
            notes.append(f"no longer runs of {', '.join(at.cut_off)}")
        bounds = "-"
        if crossing.low is not None and crossing.high is not None:
            bounds = f"{_compute(result, crossing.low)} to {_compute(result, crossing.high)}"
        share = "-" if crossing.share is None else f"{crossing.share:.0%}"
        note = "; ".join(notes) or "free choice"
        table.add_row(_compute(result, at.compute), bounds, at.before, at.after, share, note)
    return table


def frontier_table(result: ScalingFit) -> Sheet:
    """Returns the cells that beat every cheaper one; a long list shows its dearest."""
    shown = result.frontier[-_FRONTIER_ROWS:]
    left_out = len(result.frontier) - len(shown)
    table = _table("cells that beat every cheaper cell" + (f" (dearest {len(shown)})" if left_out else ""))
    for heading in (result.compute_unit, "model", "epochs", "peak lr", "loss", "seed sd", "seeds", "FLOPs"):
        add_heading(table, heading, words=("model",))
    for cell in shown:
        rate = _number(cell.best.peak_lr)
        if cell.edge in ("low", "high"):
            rate = f"{'>=' if cell.edge == 'high' else '<='} {rate}"
        table.add_row(
            _compute(result, cell.compute(result.fit.axis) or 0.0),
            cell.model,
            _number(cell.epochs, 3),
            rate,
            f"{cell.loss:.4f}{_TAINTED if cell.weight < 1 else ''}",
            "-" if cell.seed_sd is None else f"{cell.seed_sd:.4f}",
            str(len(cell.best.losses)),
            "-" if cell.flops is None else f"{cell.flops:.3g}",
        )
    return table


def cost_table(result: ScalingFit) -> Sheet | None:
    """Returns predicted against billed core-hours by model; None where no run kept a clock.

    In a scale model core-hours are FLOPs by another name, those billed are the machine's own: only the models' shares
    can be compared, so that all of them together have the ratio 1.
    """
    costs, scale = result.points.costs, result.flops_per_core_hour
    if not costs:
        return None
    units = f"predicted at {scale:.3g} FLOPs, billed in this machine's: ratio of shares" if scale else "as priced"
    table = _table(f"core-hours predicted and billed ({units})")
    for heading in ("model", "runs", "predicted", "billed", "ratio", *_PARTS_IN_WORDS.values()):
        add_heading(table, heading, words=("model",))
    for row, ratio in zip(costs, cost_ratios(costs, is_relative=scale is not None), strict=True):
        hours = (f"{row.predicted_core_hours:.4g}", f"{row.billed_core_hours:.3g}")
        shares = (f"{row.shares[part]:.1%}" for part in _PARTS_IN_WORDS)
        table.add_row(row.model, str(row.runs), *hours, _number(ratio, 3), *shares)
    return table


def closing_lines(result: ScalingFit, written: Sequence[Path]) -> list[Text]:
    """Returns the lines below the tables: what was set aside, warnings, and where the files are."""
    lines: list[Text] = []
    if any(cell.weight < 1 for cell in result.frontier[-_FRONTIER_ROWS:]):
        lines.append(Text(f"{_TAINTED.strip()}: of tainted runs only"))
    if result.points.set_aside:
        total = sum(item.count for item in result.points.set_aside)
        parts = ", ".join(f"{item.count} {item.reason}" for item in result.points.set_aside)
        lines.append(Text(f"set aside: {total} rows ({parts})"))
    refused = [pick.refused for pick in result.picks if pick.refused]
    lines += [Text(f"refused: {refusal.reason}; {refusal.next}", style="yellow") for refusal in refused]
    lines += [Text(f"warning: {notice.text}", style="yellow") for notice in result.notices]
    if written:
        names = ", ".join(path.name for path in written)
        lines.append(Text(f"written to {written[0].parent}: {names}"))
    return lines


def _table(title: str | None) -> Sheet:
    return Sheet(title)


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def _compute(result: ScalingFit, value: float) -> str:
    return format_core_hours(value) if result.fit.axis == "core_hours" else f"{value:.3g}"
