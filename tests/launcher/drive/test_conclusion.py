import math

import pytest

from launcher.drive.conclusion import conclusion
from launcher.settings.compose import compose
from strategy.choice import choice_of
from strategy.field import Field
from tests.strategy.worlds import follow, train, true_log_loss


def test_grids_leave_it_to_the_fit() -> None:
    """Only strategies conclude, and only once something was run."""
    assert conclusion(compose(["study=scale_model", "budget=10k"]), []) is None
    assert conclusion(compose(["study=scale_model", "budget=10k", "strategy=informed"]), []) is None


@pytest.mark.parametrize("strategy", ["informed", "ladder", "two_trial"])
def test_choice_is_the_best_of_a_quiet_law(strategy: str) -> None:
    """Cell, rate and loss of the truth, what they cost, and the same words twice."""
    request = compose(["study=scale_model", "budget=3k", "seeds=1", f"strategy={strategy}"])
    inquiry = request.inquiry
    assert inquiry is not None
    field, truth = inquiry.field, true_log_loss(inquiry.field)
    records, _ = follow(inquiry, truth)
    choice = choice_of(field, records)
    assert choice is not None
    best = field.trial(*divmod(int(truth.argmin()), truth.shape[1]), 0)
    assert (choice.trial.model, choice.trial.epochs, choice.trial.peak_lr) == (best.model, best.epochs, best.peak_lr)
    assert choice.known.low <= math.exp(truth.min()) <= choice.known.high
    assert choice.spent_core_hours == pytest.approx(sum(record.cost.core_hours for record in records))
    found = conclusion(request, records)
    assert found is not None and found == conclusion(request, records[::-1])
    assert found.as_json["name"] == strategy and found.as_json["model"] == best.model
    assert any(line.startswith(f"choice for 3k: {best.model} x {best.epochs:g} epochs") for line in found.lines)


def test_until_is_answered_beside_the_choice() -> None:
    """A stop rule's own question gets a line of its own."""
    words = ["study=scale_model", "budget=3k", "seeds=1", "strategy=informed", "until='exponent ± 0.05'"]
    request = compose(words)
    assert request.inquiry is not None
    records, _ = follow(request.inquiry, true_log_loss(request.inquiry.field))
    found = conclusion(request, records)
    assert found is not None and found.lines[1].startswith("exponent 0.")


def test_schedules_are_compared_cell_by_cell() -> None:
    """strategy=trunk names no choice: it says whether the two laws may stand for one another."""
    request = compose(["study=scale_model", "budget=10k", "seeds=1", "strategy=trunk"])
    assert request.own_study is not None
    records = []
    for study in (request.study, request.own_study):
        field = Field(study=study, budget_core_hours=10_000.0)
        trials = [field.trial(cell, 2, 0) for cell in (0, 5, 15)]
        records += train(trials, field, true_log_loss(field), noise_sd=0.0)
    found = conclusion(request, records)
    assert found is not None and len(found.lines) == 5
    assert found.lines[-1].startswith("no difference between the slopes of the two schedules is resolved")
    assert found.as_json["schedules"]["slope_difference"] == pytest.approx(0.0, abs=1e-9)
