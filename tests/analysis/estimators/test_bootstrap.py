import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.estimators.best_rate import cells_of
from analysis.estimators.bootstrap import (
    case_weights,
    correlation_squared,
    frontier_weights,
    has_seeds,
    published_weights,
    resample_cells,
    resample_seeds,
    residual_losses,
    seed_noise,
)
from analysis.estimators.frontier import curves_of, envelope, log_losses
from tests.analysis.synthetic import reference_points, study_points, study_records

NOISE = 0.02


def test_seed_noise_is_the_noise_that_was_put_in() -> None:
    """The pooled relative standard deviation over 24 cells of 8 seeds is within its own error of the truth."""
    noise = seed_noise(cells_of(study_points(study_records(rates=(0.1,), seeds=8, noise=NOISE))))
    assert noise.relative_sd == pytest.approx(NOISE, rel=0.15)
    assert noise.cells == 24 and noise.seeds == 8
    assert set(noise.by_model) == {"f0", "f1", "f3", "f7"}


def test_one_seed_has_no_noise() -> None:
    """Without repeated seeds the noise is missing, not zero."""
    noise = seed_noise(cells_of(reference_points()))
    assert noise.relative_sd is None
    assert not has_seeds(cells_of(reference_points()))


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_resampled_means_spread_as_means_do(seeds: int) -> None:
    """The spread of a resampled mean is sd / sqrt(seeds), also for few seeds, where the plain one is too small."""
    cells = cells_of(study_points(study_records(rates=(0.1,), seeds=seeds, noise=NOISE)))
    drawn = resample_seeds(cells, 2000, np.random.default_rng(0))
    expected = np.array([np.std(np.log(cell.best.losses), ddof=1) for cell in cells]) / np.sqrt(seeds)
    assert drawn.mean(axis=0) == pytest.approx(log_losses(cells), abs=4 * NOISE / np.sqrt(2000))
    assert drawn.std(axis=0) == pytest.approx(expected, rel=0.1)


def test_cells_with_one_seed_borrow_noise() -> None:
    """A cell that was run once is as uncertain as one run of the others."""
    records = [r for r in study_records(rates=(0.1,), noise=NOISE) if r.trial.model != "f7" or r.trial.seed == 0]
    cells = cells_of(study_points(records))
    drawn = resample_seeds(cells, 2000, np.random.default_rng(0))
    single = [i for i, cell in enumerate(cells) if cell.model == "f7"]
    assert drawn[:, single].std(axis=0) == pytest.approx(seed_noise(cells).relative_sd, rel=0.1)


def test_resamples_choose_the_rate_again() -> None:
    """Where two rates are nearly equal, some resamples take the other one."""
    cells = cells_of(study_points(study_records(noise=0.05, best_lr=0.1414)))
    drawn = resample_seeds(cells, 500, np.random.default_rng(0))
    assert drawn.shape == (500, 24)
    # Three seeds of one rate have ten means; more of them come from more than one rate.
    assert sum(len(np.unique(drawn[:, i].round(12))) > 10 for i in range(24)) > 12


def test_resampled_cells_never_go_below_the_envelope_of_all() -> None:
    """Leaving cells out can only raise the interpolated minimum where every model's cells are on convex curves."""
    cells = cells_of(reference_points())
    curves = curves_of(cells, "core_hours")
    whole = envelope(curves, log_losses(cells)[None])
    drawn = resample_cells(curves, log_losses(cells), 300, np.random.default_rng(0))
    assert drawn.log_loss.shape == (300, len(curves.grid))
    low = drawn.log_loss[:, -1]
    assert (low >= whole.log_loss[0, -1] - 1e-12).all()
    assert drawn.winner[:, -1].max() < len(curves.models)


def test_frontier_weights_keep_only_what_beats_the_cheaper_rows() -> None:
    """Absent rows neither count nor shade others."""
    log_loss = np.array([[3.0, 2.0, 2.5, 1.0]])
    weights = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 2.0, 1.0]])
    assert frontier_weights(log_loss, weights).tolist() == [[1, 1, 0, 1], [1, 0, 2, 1]]


@given(st.integers(1, 30), st.integers(1, 40))
def test_every_resample_draws_as_many_rows_as_there_are(rows: int, resamples: int) -> None:
    """Whole numbers that add up to the rows, by either generator."""
    for weights in (case_weights(rows, resamples, np.random.default_rng(0)), published_weights(rows, resamples)):
        assert weights.shape == (resamples, rows)
        assert (weights == weights.astype(int)).all() and (weights >= 0).all()
        assert (weights.sum(axis=1) == rows).all()


def test_published_resamples_are_those_of_the_legacy_generator() -> None:
    """Drawing row numbers one resample after the other, seed 42, as the notebook of arXiv:2404.10102 does."""
    legacy = np.random.RandomState(42)
    drawn = [legacy.choice(7, 7, replace=True) for _ in range(5)]
    assert published_weights(7, 5).tolist() == [[float((row == i).sum()) for i in range(7)] for row in drawn]


def test_resampled_residuals_scatter_as_the_rows_do() -> None:
    """Losses are the law plus centred residuals of any rows; the few that are zero by construction are not drawn."""
    rng = np.random.default_rng(0)
    predicted = np.linspace(1.0, 0.5, 200)
    residual = 0.02 * rng.normal(size=200)
    residual[:5] = 0.0
    drawn = residual_losses(predicted, predicted + residual, 5, 1000, rng)
    assert drawn.shape == (1000, 200)
    assert (drawn - predicted).std() == pytest.approx(residual[5:].std(), rel=0.02)
    assert (drawn - predicted).mean() == pytest.approx(0.0, abs=1e-4)
    mean = residual[5:].mean()
    assert set(np.round(drawn[0] - predicted, 12)) <= set(np.round(residual[5:] - mean, 12))


def test_r_squared_is_numpys() -> None:
    """The squared correlation; no number where nothing varies."""
    x, y = np.random.default_rng(0).normal(size=(2, 30))
    assert correlation_squared(x, y) == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2)
    assert math.isnan(correlation_squared(x, np.ones(30)))
    assert math.isnan(correlation_squared(x[:1], y[:1]))
