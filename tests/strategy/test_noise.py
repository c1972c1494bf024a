import numpy as np
import pytest

from analysis.estimators.noise_floor import PRIOR_SD
from strategy.evidence import Evidence
from strategy.noise import noise_floor
from sweeps.record import Status
from tests.strategy.worlds import field_of, record_of, runs, true_log_loss


def test_recovers_level_and_slopes():
    """Many repeats with a scatter that falls with size and data show both."""
    field = field_of(110_000.0)
    rng = np.random.default_rng(0)
    x, y = field.log_params - field.log_params.mean(), field.log_images - field.log_images.mean()
    true_sd = 0.004 * np.exp(-0.3 * x - 0.2 * y)
    truth = true_log_loss(field)
    records = [
        record_of(field.trial(cell, 1, seed), field, float(np.exp(truth[cell, 1] + rng.normal(0.0, true_sd[cell]))))
        for cell in range(len(field.cells))
        for seed in range(40)
    ]
    found = noise_floor(field, Evidence.read(field, records))
    assert found.freedom == 36 * 39
    assert found.sd == pytest.approx(true_sd, rel=0.15)
    assert found.slope_params == pytest.approx(-0.3, abs=0.06)
    assert found.slope_images == pytest.approx(-0.2, abs=0.06)


def test_prior_alone_without_repeats():
    """Single runs say nothing of their noise."""
    field = field_of(3_000.0)
    found = noise_floor(field, Evidence.read(field, runs(field, true_log_loss(field), range(5))))
    assert found.freedom == 0.0
    assert found.sd == pytest.approx(np.full(len(field.cells), PRIOR_SD))


def test_few_repeats_move_the_prior_a_little():
    """One quiet pair lowers the floor, but not to what it shows."""
    field = field_of(3_000.0)
    records = [record_of(field.trial(0, 1, seed), field, 2.5 * (1.0 + 1e-5 * seed)) for seed in (0, 1)]
    found = noise_floor(field, Evidence.read(field, records))
    assert 0.3 * PRIOR_SD < found.sd.min() <= found.sd.max() < PRIOR_SD


def test_rates_above_the_best_are_left_out():
    """Runs near the edge of stability scatter for another reason."""
    field = field_of(3_000.0)
    quiet = runs(field, true_log_loss(field), range(6), seeds=range(5), noise_sd=0.002)
    wild = [record_of(field.trial(0, 4, seed), field, 3.0 + 2.0 * seed) for seed in range(5)]
    alone, both = (noise_floor(field, Evidence.read(field, records)) for records in (quiet, [*quiet, *wild]))
    assert both.sd == pytest.approx(alone.sd)


def test_a_cell_that_diverged_at_every_rate_has_no_floor_of_its_own():
    """Finished repeats beside a run that diverged there are passed over."""
    field = field_of(3_000.0)
    records = [record_of(field.trial(0, 1, seed), field, 2.5 + 0.1 * seed) for seed in range(3)]
    records.append(record_of(field.trial(0, 1, 9), field, None, status=Status.DIVERGED))
    found = noise_floor(field, Evidence.read(field, records))
    assert found.freedom == 0.0
