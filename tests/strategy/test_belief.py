import numpy as np
import pytest

from strategy.belief import believe
from strategy.design import outlook
from strategy.evidence import Evidence
from tests.strategy.worlds import field_of, record_of, runs, true_log_loss


def test_measured_cells_are_believed_as_measured():
    """With many quiet runs the belief at a cell is the runs' mean, and it knows it."""
    field = field_of(3_000.0)
    truth = true_log_loss(field)
    records = runs(field, truth, range(len(field.cells)), seeds=range(4), noise_sd=0.001)
    belief = believe(field, Evidence.read(field, records))
    asked = field.asked_rates
    assert np.abs(belief.mean[:, asked] - truth[:, asked]).max() < 0.002
    assert np.sqrt(np.diag(outlook(belief).covariance)).max() < 0.01


def test_interval_of_unseen_cells_covers():
    """Of many studies, nine in ten intervals hold the loss of a cell eight times dearer than any that was run."""
    held: list[bool] = []
    for seed in range(40):
        field = field_of(110_000.0)
        rng = np.random.default_rng(seed)
        truth = true_log_loss(field) + rng.normal(0.0, 0.002, (len(field.cells), 1))
        cheap = [cell for cell in range(len(field.cells)) if field.core_hours[cell] < 14_000.0]
        belief = believe(field, Evidence.read(field, runs(field, truth, cheap, seed=seed)))
        top = len(field.cells) - 1
        draws = belief.samples(400, np.random.default_rng(1))[:, top].min(axis=1)
        low, high = np.quantile(draws, [0.05, 0.95])
        held.append(bool(low <= truth[top].min() <= high))
    assert 0.8 <= np.mean(held) <= 1.0


def test_one_wild_run_moves_little():
    """A run that lands twice as high as its neighbours does not take the law with it."""
    field = field_of(10_000.0)
    truth = true_log_loss(field)
    records = runs(field, truth, range(12), seeds=(0, 1))
    before = believe(field, Evidence.read(field, records)).mean[-1, 2]
    wild = record_of(field.trial(5, 2, 7), field, 2.0 * float(np.exp(truth[5, 2])))
    after = believe(field, Evidence.read(field, [*records, wild])).mean[-1, 2]
    assert abs(after - before) < 0.02


def test_nothing_is_believed_of_nothing():
    """Without a run there is no belief."""
    field = field_of(3_000.0)
    with pytest.raises(ValueError, match="before anything was run"):
        believe(field, Evidence.read(field, []))
