"""What a strategy makes of the records at the end: its choice, or how two schedules compare."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from launcher.drive.spot_checks import all_spot_checks
from launcher.settings.request import Request
from strategy.belief import Belief
from strategy.choice import Choice, choice_of
from strategy.questions import answer
from strategy.schedules import compare_schedules, comparison_lines
from strategy.stopping import answer_text, standing_line
from sweeps.budget import format_core_hours
from sweeps.pricing import price_trial
from sweeps.record import RunRecord

_MOST_NAMES = 6
"""Trials of a round that are named."""


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """For people and for programs."""

    lines: tuple[str, ...]
    as_json: dict[str, Any]


def conclusion(request: Request, records: Sequence[RunRecord]) -> Conclusion | None:
    """Returns what the request's strategy concludes; None for strategies that leave that to the fit."""
    if request.own_study is not None:
        return _of_schedules(request, records)
    inquiry = request.inquiry
    if inquiry is None:
        return None
    choice = choice_of(inquiry.field, records)
    if choice is None:
        return None
    field, trial, known = inquiry.field, choice.trial, choice.known
    spent, grid = choice.spent_core_hours, field.grid_core_hours
    lines = [
        f"strategy {request.strategy.name}: {standing_line(inquiry.question, choice.belief)}",
        f"choice for {format_core_hours(field.budget_core_hours)}: {trial.model} x {trial.epochs:g} epochs at "
        f"peak_lr {trial.peak_lr:g}, loss {known.value:.4g} ({known.low:.4g} to {known.high:.4g}, 90 %)",
        f"for {format_core_hours(spent)} core-hours, {100 * spent / grid:.0f} % of the full grid's "
        f"{format_core_hours(grid)}",
        _noise_line(choice.belief),
    ]
    if inquiry.until is not None:
        lines.insert(1, answer_text(inquiry.until.question, answer(inquiry.until.question, choice.belief)))
    words = {"name": request.strategy.name, "question": str(inquiry.question)}
    return Conclusion(lines=tuple(lines), as_json={**words, **_choice_json(choice)})


def intention(request: Request, records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Returns what the request's strategy would do of its plan, for people; nothing where that is all of it."""
    checks = all_spot_checks(request)
    if checks:
        cells = ", ".join(dict.fromkeys(f"{trial.model}-e{trial.epochs:g}" for trial in checks))
        price = sum(price_trial(trial, request.study.hardware).core_hours for trial in checks)
        own = request.own_schedule.name if request.own_schedule else ""
        more = f"{len(checks)} more runs, {format_core_hours(price)} core-hours"
        return (f"spot checks with schedule {own}: {cells}, {more}",)
    inquiry = request.inquiry
    if inquiry is None:
        return ()
    most, share = "", inquiry.share
    if share is not None:
        core_hours = format_core_hours(share * inquiry.field.grid_core_hours)
        most = f", for at most {100 * share:.0f} % of the full grid: {core_hours} core-hours"
    found = inquiry.next_round(records)
    names = [trial.name for trial in found.trials[:_MOST_NAMES]]
    rest = f" and {len(found.trials) - _MOST_NAMES} more" if len(found.trials) > _MOST_NAMES else ""
    first = f"next: {', '.join(names)}{rest}" if names else "next: nothing, it is done"
    asks = f" asks {inquiry.question}" if request.strategy.name != "two_trial" else ""
    return (f"strategy {request.strategy.name}{asks}{most}", *found.lines, first)


def _choice_json(choice: Choice) -> dict[str, Any]:
    trial, known = choice.trial, choice.known
    return {
        "model": trial.model,
        "epochs": trial.epochs,
        "batch_images": trial.batch_images,
        "peak_lr": trial.peak_lr,
        "predicted_loss": known.value,
        "low": known.low,
        "high": known.high,
        "spent_core_hours": choice.spent_core_hours,
        "grid_core_hours": choice.belief.field.grid_core_hours,
    }


def _noise_line(belief: Belief) -> str:
    """Returns the noise floor at the field's cheapest and dearest cell."""
    field, noise = belief.field, belief.noise
    top = len(field.cells) - 1
    basis = f"{noise.freedom:.0f} repeats" if noise.freedom else "nothing was run twice: assumed"
    return f"noise floor: {noise.sd[0]:.2%} at {field.name(0)}, {noise.sd[top]:.2%} at {field.name(top)} ({basis})"


def _of_schedules(request: Request, records: Sequence[RunRecord]) -> Conclusion | None:
    own = request.own_study
    assert own is not None
    found = compare_schedules(request.study, own, request.budget.core_hours, records)
    head = (
        f"schedule {request.study.schedule.name} against {own.schedule.name}, each cell at its own best learning rate:"
    )
    return Conclusion(
        lines=(head, *comparison_lines(found)),
        as_json={"name": request.strategy.name, "schedules": asdict(found), "sentence": found.sentence},
    )
