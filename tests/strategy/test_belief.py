import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategy.belief import believe
from strategy.design import outlook
from strategy.evidence import Evidence
from strategy.prior import LAW, law_and_slopes, prior_of
from tests.strategy.worlds import field_of, record_of, train, true_log_loss


def runs(field, truth, cells, *, rates=None, seeds=(0,), noise_sd=0.003, seed=0):
    """Returns the records of some cells at some rates."""
    rates = field.asked_rates if rates is None else rates
    trials = [field.trial(cell, int(rate), s) for cell in cells for rate in rates for s in seeds]
    return train(trials, field, truth, noise_sd=noise_sd, seed=seed)


def test_slopes_are_those_of_the_law():
    """The derivatives in closed form are those by differences, for two families at once."""
    field = field_of(30_000.0, "scale/f0", "scale/f3", "scale/vit_f0", "scale/vit_f3")
    records = runs(field, true_log_loss(field), range(3))
    prior = prior_of(field, Evidence.read(field, records))
    rng = np.random.default_rng(0)
    theta = prior.mean + 0.2 * rng.standard_normal(len(prior.mean))
    cells, rates = rng.integers(len(field.cells), size=20), rng.integers(len(field.peak_lrs), size=20)
    _, slopes = law_and_slopes(theta, field, prior.origin, cells, rates)
    for place in [*range(len(LAW)), len(LAW) + 1, len(theta) - 1]:
        step = np.zeros(len(theta))
        step[place] = 1e-6
        above, _ = law_and_slopes(theta + step, field, prior.origin, cells, rates)
        below, _ = law_and_slopes(theta - step, field, prior.origin, cells, rates)
        assert slopes[:, place] == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-8)


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


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_more_runs_never_widen_an_outlook(seed, count):
    """A run that is looked forward to narrows everything or nothing, and never below zero."""
    field = field_of(5_000.0)
    rng = np.random.default_rng(seed)
    cells = rng.integers(len(field.cells), size=count).tolist()
    belief = believe(field, Evidence.read(field, runs(field, true_log_loss(field), sorted({0, *cells}))))
    asked = np.zeros(belief.mean.size)
    asked[int(belief.mean.argmin())] = 1.0
    view = outlook(belief, asked)
    assert (view.variances_left() <= view.asked_variance + 1e-12).all()
    after = view.after(int(rng.integers(len(view.mean))))
    assert (np.diag(after.covariance) <= np.diag(view.covariance) + 1e-12).all()
    assert -1e-12 <= after.asked_variance <= view.asked_variance + 1e-12
    assert (view.gains(np.arange(len(view.mean))) >= 0.0).all()


def test_nothing_is_believed_of_nothing():
    """Without a run there is no belief."""
    field = field_of(3_000.0)
    with pytest.raises(ValueError, match="before anything was run"):
        believe(field, Evidence.read(field, []))
