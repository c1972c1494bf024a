"""Fine-tuned checkpoints: the rate is chosen on the selection loss, and nothing without an error is one."""

import dataclasses

import pytest

from analysis.transfer.checkpoint import best_of_each_cell, checkpoints_of
from sweeps.record import RunRecord, Status
from tests.analysis.synthetic import record

TRUNK = record(model="f1", epochs=2.0, loss=1.5)


def tuned(trunk: RunRecord, peak_lr: float, *, seed: int = 0, selection: float = 1.0, error: float = 0.2) -> RunRecord:
    """Returns the record of a run that fine-tunes `trunk`."""
    made = record(model=trunk.trial.model, epochs=4.0, peak_lr=peak_lr, seed=seed, loss=selection)
    assert made.outcome is not None
    return dataclasses.replace(
        made,
        trial=dataclasses.replace(made.trial, trunk_id=trunk.trial.id),
        outcome=dataclasses.replace(made.outcome, selection_loss=selection, val_error=error),
    )


def test_the_rate_is_chosen_on_the_selection_loss() -> None:
    """Not on the error that is reported: the least error of the rates would flatter."""
    runs = [
        tuned(TRUNK, 0.1, selection=1.0, error=0.30),
        tuned(TRUNK, 0.2, seed=0, selection=0.9, error=0.32),
        tuned(TRUNK, 0.2, seed=1, selection=0.7, error=0.34),
        tuned(TRUNK, 0.4, selection=0.85, error=0.25),
    ]
    (found,), aside = checkpoints_of(runs, {TRUNK.trial.id: TRUNK})
    assert found.finetune_peak_lr == 0.2
    assert found.errors == pytest.approx((32.0, 34.0))
    assert found.error == pytest.approx(33.0)
    assert not found.is_at_edge
    assert (found.model, found.epochs, found.core_hours) == ("f1", 2.0, TRUNK.cost.core_hours)
    assert (found.loss, found.peak_lr) == (TRUNK.val_loss, TRUNK.trial.peak_lr)
    counting, seeds = 100 * (0.33 * 0.67 / 512) ** 0.5, 2**0.5 / 2**0.5
    assert found.error_sd == pytest.approx((counting**2 + seeds**2) ** 0.5)
    assert aside == ()


def test_rates_that_diverged_are_not_chosen() -> None:
    """What survives of a rate at which a seed diverged is a favourable sample; the next rate is at the edge then."""
    runs = [
        tuned(TRUNK, 0.1, selection=1.0),
        tuned(TRUNK, 0.2, selection=0.9, error=0.21),
        tuned(TRUNK, 0.4, seed=0, selection=0.5),
        dataclasses.replace(tuned(TRUNK, 0.4, seed=1), status=Status.DIVERGED),
    ]
    (found,), aside = checkpoints_of(runs, {TRUNK.trial.id: TRUNK})
    assert found.finetune_peak_lr == 0.2
    assert found.is_at_edge
    assert [(item.reason, item.count) for item in aside] == [("diverged", 1)]


def test_what_is_no_checkpoint_is_set_aside() -> None:
    """Runs from scratch, of unknown trunks, unfinished, without an error or with none at all are counted."""
    unmeasured, perfect = tuned(TRUNK, 0.1), tuned(TRUNK, 0.2, error=0.0)
    assert unmeasured.outcome is not None
    runs = [
        TRUNK,
        tuned(record(model="f0"), 0.1),
        dataclasses.replace(tuned(TRUNK, 0.1), status=Status.KILLED),
        dataclasses.replace(unmeasured, outcome=dataclasses.replace(unmeasured.outcome, val_error=None)),
        perfect,
    ]
    found, aside = checkpoints_of(runs, {TRUNK.trial.id: TRUNK})
    assert found == ()
    assert sum(item.count for item in aside) == len(runs)
    assert len(aside) == 4


def test_one_checkpoint_a_cell() -> None:
    """Of checkpoints that differ in the pre-training rate alone, the least error stands for the cell."""
    other = record(model="f1", epochs=2.0, peak_lr=0.2, loss=1.6)
    far = record(model="f0", epochs=8.0, loss=1.7)
    trunks = {run.trial.id: run for run in (TRUNK, other, far)}
    runs = [tuned(TRUNK, 0.1, error=0.3), tuned(other, 0.1, error=0.2), tuned(far, 0.1, error=0.4)]
    found, _ = checkpoints_of(runs, trunks)
    assert len(found) == 3
    best = best_of_each_cell(found)
    assert [(item.model, item.error) for item in best] == [("f1", pytest.approx(20.0)), ("f0", pytest.approx(40.0))]
