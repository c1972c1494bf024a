"""The tables of the terminal report that say how far to believe it."""

from analysis.report.narrow_table import Sheet
from analysis.result import AllocationEstimate, Estimate, ScalingFit

_SPARE = {
    heading: place
    for place, heading in enumerate(
        (
            *("FLOPs", "save", "input", "lost", "compile", "eval", "steps", "seed sd", "se", "seeds", "sure"),
            *("seen in", "free", "AICc", "rows", "eta", "R_data", "E", "b", "alpha", "beta", "runs", "mean error"),
            *("beyond", "weight", "billed", "predicted", "loss at top", "interval", "params", "peak lr"),
        ),
        start=2,
    )
}
"""Columns that a narrow window has no room for, the first to go first."""
_NOTES = 1
"""Words at the end of a row go before any number; what they warn of stands below the tables, too."""


def add_heading(table: Sheet, heading: str, *, words: tuple[str, ...]) -> None:
    """Adds a column of a report's table: words to the left, numbers to the right, each with its place in the queue."""
    is_notes = not heading and not table.is_empty
    wanted = _NOTES if is_notes else _SPARE.get(heading, 90 if "interval" in heading else 0)
    table.add_column(heading, is_words=heading in words, wanted=wanted, wraps=is_notes)


def allocation_table(result: ScalingFit) -> Sheet | None:
    """Returns how the best size grows with compute by each approach, side by side."""
    if not any(estimate.exponent_params for estimate in result.allocations):
        return None
    table = _table("how the best size grows:  N* ~ C^a,  D* ~ C^(1-a)")
    for heading in ("approach", "a", f"{result.fit.level:.0%} interval", ""):
        add_heading(table, heading, words=("approach", ""))
    for estimate in result.allocations:
        table.add_row(estimate.approach.replace("_", " "), *_exponent(estimate.exponent_params), _remark(estimate))
    return table


def _exponent(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    bounds = "-" if estimate.low is None or estimate.high is None else f"{estimate.low:.4f} to {estimate.high:.4f}"
    return f"{estimate.value:.4f}", bounds


def _remark(estimate: AllocationEstimate) -> str:
    return f"refused: {estimate.refused.reason}" if estimate.refused else estimate.remark


def trust_tables(result: ScalingFit) -> tuple[Sheet | None, ...]:
    """Returns back-test, rival forms and variants."""
    return _backtest_table(result), _forms_table(result), _variants_table(result)


def _backtest_table(result: ScalingFit) -> Sheet | None:
    backtest = result.trust.backtest
    if backtest is None:
        return None
    table = _table(f"back-test: fitted below {len(backtest.cuts)} cuts, asked for the runs above")
    for heading in ("beyond the cut", "runs", "rms error", "mean error", f"within {result.fit.level:.0%} interval"):
        add_heading(table, heading, words=())
    for b in backtest.bins:
        reach = f"{b.low:g} x or more" if b.high == float("inf") else f"{b.low:g} to {b.high:g} x"
        table.add_row(reach, str(b.predictions), f"{b.rms_error:.2%}", f"{b.mean_error:+.2%}", f"{b.coverage:.0%}")
    return table


def _forms_table(result: ScalingFit) -> Sheet | None:
    if len(result.trust.forms) < 2:
        return None
    table = _table("rival forms on the same rows, best predictor first")
    for heading in ("form", "free", "held-out rms", "AICc", "weight", ""):
        add_heading(table, heading, words=("form", ""))
    for form in result.trust.forms:
        rms = "-" if form.held_out_rms is None else f"{form.held_out_rms:.2%}"
        aicc = "-" if form.aicc is None else f"+{form.aicc:.1f}"
        weight = "-" if form.weight is None else f"{form.weight:.0%}"
        note = "reported here" if form.is_fitted else ""
        table.add_row(form.name, str(form.free_parameters), rms, aicc, weight, note)
    return table


def _variants_table(result: ScalingFit) -> Sheet | None:
    if len(result.trust.variants) < 2:
        return None
    names = [name for name in result.fit.law.parameters if name in ("E", "b", "alpha", "beta", "eta", "R_data")]
    table = _table("the same with one thing changed")
    headings = (
        "",
        "rows",
        *names,
        "loss at top",
        "at 10 x",
        *(("N* at 10 x",) if not result.fit.law.fits_frontier else ()),
    )
    for heading in headings:
        add_heading(table, heading, words=("",))
    for variant in result.trust.variants:
        values = [_number(variant.values.get(name)) for name in names]
        more = [_number(variant.params_at_ten_times, 3)] if not result.fit.law.fits_frontier else []
        losses = (_number(variant.loss_at_top), _number(variant.loss_at_ten_times))
        table.add_row(variant.name, str(variant.rows), *values, *losses, *more)
    return table


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else "0" if abs(value) < 1e-6 else f"{value:.{digits}g}"


def _table(title: str) -> Sheet:
    return Sheet(title)
