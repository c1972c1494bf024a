"""The tables of the terminal report that say how far to believe it."""

from rich.table import Table

from analysis.result import AllocationEstimate, Estimate, ScalingFit


def allocation_table(result: ScalingFit) -> Table | None:
    """Returns how the best size grows with compute by each approach, side by side."""
    if not any(estimate.exponent_params for estimate in result.allocations):
        return None
    table = _table("how the best size grows:  N* ~ C^a,  D* ~ C^(1-a)")
    for heading in ("approach", "a", f"{result.fit.level:.0%} interval", ""):
        table.add_column(heading, justify="right" if heading in ("a", f"{result.fit.level:.0%} interval") else "left")
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


def trust_tables(result: ScalingFit) -> tuple[Table | None, ...]:
    """Returns back-test, rival forms and variants."""
    return _backtest_table(result), _forms_table(result), _variants_table(result)


def _backtest_table(result: ScalingFit) -> Table | None:
    backtest = result.trust.backtest
    if backtest is None:
        return None
    table = _table(f"back-test: fitted below {len(backtest.cuts)} cuts, asked for the runs above")
    for heading in ("beyond the cut", "runs", "rms error", "mean error", f"within {result.fit.level:.0%} interval"):
        table.add_column(heading, justify="right")
    for b in backtest.bins:
        reach = f"{b.low:g} x or more" if b.high == float("inf") else f"{b.low:g} to {b.high:g} x"
        table.add_row(reach, str(b.predictions), f"{b.rms_error:.2%}", f"{b.mean_error:+.2%}", f"{b.coverage:.0%}")
    return table


def _forms_table(result: ScalingFit) -> Table | None:
    if len(result.trust.forms) < 2:
        return None
    table = _table("rival forms on the same rows, best predictor first")
    for heading in ("form", "free", "held-out rms", "AICc", "weight", ""):
        table.add_column(heading, justify="left" if heading in ("form", "") else "right")
    for form in result.trust.forms:
        rms = "-" if form.held_out_rms is None else f"{form.held_out_rms:.2%}"
        aicc = "-" if form.aicc is None else f"+{form.aicc:.1f}"
        weight = "-" if form.weight is None else f"{form.weight:.0%}"
        note = "reported here" if form.is_fitted else ""
        table.add_row(form.name, str(form.free_parameters), rms, aicc, weight, note)
    return table


def _variants_table(result: ScalingFit) -> Table | None:
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
        table.add_column(heading, justify="right" if heading else "left")
    for variant in result.trust.variants:
        values = [_number(variant.values.get(name)) for name in names]
        more = [_number(variant.params_at_ten_times, 3)] if not result.fit.law.fits_frontier else []
        losses = (_number(variant.loss_at_top), _number(variant.loss_at_ten_times))
        table.add_row(variant.name, str(variant.rows), *values, *losses, *more)
    return table


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else "0" if abs(value) < 1e-6 else f"{value:.{digits}g}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
