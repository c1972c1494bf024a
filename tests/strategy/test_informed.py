import numpy as np
import pytest

from strategy.belief import believe
from strategy.evidence import Evidence
from strategy.questions import answer, best_within, parse_question
from strategy.stopping import parse_until
from tests.strategy.worlds import follow, inquiry_of, true_log_loss


@pytest.mark.parametrize("name", ["informed", "ladder"])
@pytest.mark.parametrize("budget", [3_000.0, 10_000.0])
def test_names_the_best_cell_of_a_quiet_law(name: str, budget: float) -> None:
    """Without noise the pick loses next to nothing, for a quarter or a tenth of the grid."""
    inquiry = inquiry_of(name, budget)
    field, truth = inquiry.field, true_log_loss(inquiry.field)
    records, _ = follow(inquiry, truth)
    belief = believe(field, Evidence.read(field, records))
    cell, rate = best_within(belief.mean, field, budget)
    assert truth[cell].min() == truth.min()
    assert truth[cell, rate] - truth.min() < 0.002
    spent = sum(record.cost.core_hours for record in records)
    assert spent < (0.25 if name == "informed" else 0.1) * field.grid_core_hours


def test_until_ends_it_as_soon_as_the_rule_is_met() -> None:
    """Met at the end, not met one round before, and the reason is said."""
    inquiry = inquiry_of("informed", until="loss@10k ± 1.5%", spend_share=1.0)
    field, rule = inquiry.field, parse_until("loss@10k ± 1.5%")
    met: list[bool] = []

    def check(found, records):
        if records:
            met.append(rule.why_met(believe(field, Evidence.read(field, records))) is not None)

    records, rounds = follow(inquiry, true_log_loss(field), on_round=check, noise_sd=0.003)
    assert met == [False] * (len(met) - 1) + [True]
    assert rounds[-1].lines[-1].startswith("enough is known: best loss at 10k")
    found = answer(rule.question, believe(field, Evidence.read(field, records)))
    assert found.half_width <= 0.015


def test_until_that_the_share_does_not_allow_ends_with_the_share() -> None:
    """Nothing is spent beyond it, and what is left is said."""
    inquiry = inquiry_of("informed", until="loss@10k ± 0.001%", spend_share=0.05)
    records, rounds = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
    assert sum(record.cost.core_hours for record in records) <= 0.05 * inquiry.field.grid_core_hours
    assert "of 5 % of the grid" in rounds[-1].lines[-1]


def test_a_wider_tolerance_costs_less() -> None:
    """An optimum that may be missed by more is known sooner."""
    spent: list[float] = []
    for tolerance in (0.02, 0.0005):
        inquiry = inquiry_of("informed", tolerance=tolerance, spend_share=1.0)
        records, rounds = follow(inquiry, true_log_loss(inquiry.field), noise_sd=0.003)
        assert rounds[-1].lines[-1].startswith("the choice is known to")
        spent.append(sum(record.cost.core_hours for record in records))
    assert spent[0] < spent[1]


def test_batches_hold_as_many_runs_as_are_trained_at_once() -> None:
    """batch_runs is the least of a batch, where there is room."""
    _, rounds = follow(
        inquiry_of("informed", batch_runs=6), true_log_loss(inquiry_of("informed").field), noise_sd=0.003
    )
    assert min(len(found.trials) for found in rounds[1:-2]) >= 6


def test_every_round_says_what_is_known_and_what_more_would_buy() -> None:
    """And predicts the cells that nothing was trained at, before they are."""
    inquiry = inquiry_of("informed", 3_000.0)
    field = inquiry.field

    def check(found, records):
        done = {field.find(record.trial) for record in records}
        new = {place for place in map(field.find, found.trials) if place not in done}
        if records and found.trials:
            predicted = {(one.model, one.epochs, one.peak_lr) for one in found.predictions}
            trials = [field.trial(*place, 0) for place in new]
            assert predicted == {(trial.model, trial.epochs, trial.peak_lr) for trial in trials}
            assert found.lines[0].startswith("best choice") and found.lines[1].startswith("the next 1k core-hours")

    follow(inquiry, true_log_loss(field), on_round=check, noise_sd=0.003)


def test_predictions_of_a_quiet_law_hold() -> None:
    """Most of the losses that were predicted are within their intervals."""
    held: list[bool] = []
    for seed in range(4):
        inquiry = inquiry_of("informed", 5_000.0)
        field, truth = inquiry.field, true_log_loss(inquiry.field)
        _, rounds = follow(inquiry, truth, noise_sd=0.003, seed=seed)
        for one in (one for found in rounds for one in found.predictions):
            cells = [k for k in range(len(field.cells)) if field.name(k) == f"{one.model}-e{one.epochs:g}"]
            loss = float(np.exp(truth[cells[0], field.peak_lrs(0).index(one.peak_lr)]))
            held.append(one.low <= loss <= one.high)
    assert len(held) > 10 and np.mean(held) >= 0.8


def test_gap_of_two_families_is_answered() -> None:
    """A question of two families trains both of them."""
    inquiry = inquiry_of("informed", 3_000.0, "scale/f0", "scale/f1", "scale/vit_f0", "scale/vit_f1", question="gap@3k")
    field = inquiry.field
    truth = true_log_loss(field) + 0.05 * field.family[:, None]
    records, _ = follow(inquiry, truth, noise_sd=0.002)
    assert {record.trial.family for record in records} == {"nfnet", "vit"}
    known = answer(parse_question("gap@3k"), believe(field, Evidence.read(field, records)))
    best = [truth[field.family == family].min() for family in (0, 1)]
    assert known.low <= np.exp(best[1] - best[0]) <= known.high
