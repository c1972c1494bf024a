"""The answer in sentences, the law in a few numbers, and the warnings: what a reader sees first."""

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.page.series import page_title
from analysis.page.sheets import compute_text, interval_text, text_of
from analysis.report.axis_ticks import count_text
from analysis.result import Pick, ScalingFit

_MOST_ANSWERS = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One sentence about one budget."""

    lead: str
    what: str = ""
    """The configuration, set in bold."""
    then: str = ""
    loss: str = ""
    """Set in bold."""
    tail: str = ""


def answers(result: ScalingFit, titles: Mapping[str, str]) -> tuple[Answer, ...]:
    """Returns the answer for the dearest budgets asked about, dearest first."""
    picks = sorted(result.picks, key=lambda pick: pick.budget, reverse=True)
    firm = [pick for pick in picks if pick.refused is None]
    chosen = firm[:1] + [pick for pick in picks if pick.refused is not None][: 0 if firm else 1]
    asked = sorted({*chosen, *picks[: _MOST_ANSWERS - 1]}, key=lambda pick: pick.budget, reverse=True)
    if not asked:
        return (Answer(lead=f"The law is {result.fit.law.formula}; no budget was asked about."),)
    return tuple(_answer(result, pick, titles) for pick in asked)


def answer_lines(result: ScalingFit) -> list[str]:
    """Returns the answers as plain lines."""
    titles = {model: page_title(model) for model in result.curves.models}
    return [
        f"{one.lead} {one.what}{one.then}{' ' + one.loss if one.loss else ''}{one.tail}"
        for one in answers(result, titles)
    ]  # fmt: skip


def _answer(result: ScalingFit, pick: Pick, titles: Mapping[str, str]) -> Answer:
    lead = f"With {compute_text(pick.budget, result.fit.axis)} {result.compute_unit}"
    if pick.refused is not None:
        return Answer(lead=f"{lead} there is no honest answer: {pick.refused.reason}.", tail=f" {pick.refused.next}")
    words = [titles.get(pick.model, pick.model) if pick.model else f"{count_text(pick.params or 0.0)} parameters"]
    if pick.epochs is not None:
        words.append(f"for {pick.epochs:.3g} epoch{'' if pick.epochs == 1 else 's'}")
    elif pick.tokens is not None:
        words.append(f"on {count_text(pick.tokens)} {result.points.data_unit}")
    if pick.peak_lr is not None:
        words.append(f"at peak learning rate {pick.peak_lr:.3g}")
    tail = "."
    if pick.low is not None and pick.high is not None:
        tail = f" ({result.fit.level:.0%} of runs: {interval_text(pick.low, pick.high)})."
    if pick.extrapolation_factor > 1:
        tail += f" That is {pick.extrapolation_factor:.3g} times the dearest compute that was run."
    return Answer(
        lead=f"{lead}, train",
        what=" ".join(words),
        then="; expect a held-out loss of",
        loss=text_of(pick.predicted_loss),
        tail=tail,
    )


def facts(result: ScalingFit) -> tuple[tuple[str, str], ...]:
    """Returns the law in a few numbers: name and value."""
    fit = result.fit
    found: list[tuple[str, str]] = []
    if fit.law.name == "power":
        slope = fit.parameters["b"]
        bounds = "" if slope.low is None or slope.high is None else f" ({-slope.high:.3f} to {-slope.low:.3f})"
        found.append(("log-log slope", f"{-slope.value:.3f}{bounds}".replace("-", "\N{MINUS SIGN}")))
    else:
        found.append(("law", fit.law.formula))
    low, high = (compute_text(value, fit.axis) for value in fit.sampled)
    found.append(("runs span", f"{low} to {high} {result.compute_unit}"))
    found.append(("runs, cells", f"{len(result.points.points):,}, {len(result.cells):,}"))
    if result.noise.relative_sd is not None:
        found.append(("noise over seeds", f"{result.noise.relative_sd:.2%}"))
    if result.trust.backtest is not None:
        found.append(("back-test error", f"{result.trust.backtest.rms_error:.2%} rms"))
    if result.flops_per_core_hour:
        found.append(("scale model", f"1 core-hour = {result.flops_per_core_hour:.4g} FLOPs"))
    return tuple(found)
