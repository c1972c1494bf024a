import numpy as np
import pytest

from strategy.evidence import Evidence
from strategy.prior import LAW, best_rate_slopes, law_and_slopes, prior_of
from tests.strategy.worlds import field_of, runs, true_log_loss


def test_slopes_are_those_of_the_law():
    """The derivatives in closed form are those by differences, for two families at once."""
    field = field_of(30_000.0, "scale/f0", "scale/f3", "scale/vit_f0", "scale/vit_f3")
    records = runs(field, true_log_loss(field), range(3))
    prior = prior_of(field, Evidence.read(field, records))
    rng = np.random.default_rng(0)
    theta = prior.mean + 0.2 * rng.standard_normal(len(prior.mean))
    cells, rates = rng.integers(len(field.cells), size=20), rng.integers(field.rate_count, size=20)
    _, slopes = law_and_slopes(theta, field, prior.origin, cells, rates)
    for place in [*range(len(LAW)), len(LAW) + 1, len(theta) - 1]:
        step = np.zeros(len(theta))
        step[place] = 1e-6
        above, _ = law_and_slopes(theta + step, field, prior.origin, cells, rates)
        below, _ = law_and_slopes(theta - step, field, prior.origin, cells, rates)
        assert slopes[:, place] == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-8)


def test_prior_is_a_prior():
    """Its covariance is one, its losses have the runs' scale, and its best rate falls with size and data."""
    field = field_of(110_000.0)
    prior = prior_of(field, Evidence.read(field, runs(field, true_log_loss(field) + 3.0, range(2))))
    assert np.linalg.eigvalsh(prior.covariance).min() > 0.0
    cells = np.arange(len(field.cells))
    law, _ = law_and_slopes(prior.mean, field, prior.origin, cells, np.full(len(cells), 2))
    assert np.abs(law - true_log_loss(field)[:, 2] - 3.0).max() < 0.5
    best = best_rate_slopes(field, prior.origin, len(prior.mean)) @ prior.mean
    for cell in range(len(cells)):
        above = (field.log_params >= field.log_params[cell]) & (field.log_images >= field.log_images[cell])
        assert (best[above] <= best[cell] + 1e-9).all()
